"""A node that runs plain processes and images side by side."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from orchestrator.runtime.by_kind import RuntimeByKind
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerState, ExecRequest
from tests.support.containers import DEADLINE_SECONDS, ProcessWorld, until_exited
from tests.support.oci import OciWorld, printed

PLAIN = "default.web.0.1.main"
IMAGE = "default.web.1.1.main"


async def test_each_container_is_with_the_runtime_that_it_needs(
    oci_world: OciWorld, tmp_path: Path
) -> None:
    plain = ProcessWorld(tmp_path / "plain", str(uuid.uuid4()))
    oci = oci_world.new_runtime()
    runtime = RuntimeByKind(ProcessRuntime(plain.root), oci)
    report = await runtime.init_node()
    assert report.kinds == ("process", "oci")
    assert {"python", "conmon", "crun"} <= report.versions.keys()
    await asyncio.gather(
        runtime.create(plain.spec(PLAIN, "run")), runtime.create(oci_world.spec(IMAGE, "run"))
    )
    assert [each.spec.id for each in await runtime.list()] == [PLAIN, IMAGE]
    assert [each.id for each in await runtime.usage()] == [PLAIN, IMAGE]
    assert list(oci.images_in_use().values()) == [{IMAGE}]
    streams = await runtime.exec(IMAGE, ExecRequest(("cat", "/etc/hostname")))
    assert [piece async for piece in streams.output()] == [("stdout", b"web-1\n")]
    await streams.close()
    await runtime.stop_all(DEADLINE_SECONDS)
    assert {each.state for each in await runtime.list()} == {ContainerState.EXITED}
    assert oci.images_in_use() == {}
    for container_id in (PLAIN, IMAGE):
        await until_exited(runtime, container_id)
        assert await printed(runtime, container_id) == []
        await runtime.remove(container_id)
    assert await runtime.list() == []
    assert sorted(await runtime.kept_logs()) == [PLAIN, IMAGE]
    await runtime.close()
    await plain.aclose()
