"""Plain processes and images behind one runtime."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.by_kind import RuntimeByKind
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import Isolation
from tests.support.containers import DEADLINE_SECONDS, ProcessWorld, until_exited

ONE = "default.web.0.1.main"


async def test_node_without_an_oci_runtime_runs_processes_and_says_so(tmp_path: Path) -> None:
    world = ProcessWorld(tmp_path / "containers", str(uuid.uuid4()))
    runtime = RuntimeByKind(ProcessRuntime(world.root), None)
    assert (await runtime.init_node()).kinds == ("process",)
    spec = world.spec(ONE, "exit-3")
    with pytest.raises(errors.RuntimeError, match="this node runs none: give its agent an OCI"):
        await runtime.create(
            replace(spec, isolation=Isolation("app@sha256:0", ContainerConfig("main", image="app")))
        )
    await runtime.create(spec)
    status = await until_exited(runtime, ONE)
    assert status.exit_code == 3
    assert await runtime.list() == [status]
    await runtime.stop(ONE, DEADLINE_SECONDS)
    await runtime.remove(ONE)
    assert await runtime.status(ONE) is None
    with pytest.raises(errors.RuntimeError, match="no container"):
        runtime.logs("default.web.9.1.main")
    await runtime.close()
    await world.aclose()
