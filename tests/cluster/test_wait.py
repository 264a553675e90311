"""`orc apply --wait` for what will not run: its own exit code, and the reason for a person."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator
from tests.support.orc_process import run_orc_process

TIMED_OUT = 5


def awaited(calm: LocalCluster, path: Path, name: str, **container: Any) -> str:
    """What `orc` says in the end of a workload that it has waited for in vain."""
    containers = [{"name": "main", **container}]
    manifest = {"name": name, "containers": containers, "restart": {"backoff_seconds": 300}}
    path.write_text(json.dumps(manifest))
    server = f"--server={','.join(calm.servers)}"
    done = run_orc_process(server, "apply", "-f", str(path), "--wait", "--timeout", "10s")
    assert done.returncode == TIMED_OUT, done.stderr
    assert done.stdout == f"workload default/{name} created\n"
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: workload default/{name}: 0 of 1 replicas run; ")
    assert last.endswith(", after waiting for 10s")
    return last


@pytest.mark.slow
async def test_a_command_that_does_not_exist(
    calm: LocalCluster, operator: Operator, tmp_path: Path
) -> None:
    said = await asyncio.to_thread(
        awaited, calm, tmp_path / "w.yaml", "missing", command=["no-such-command"]
    )
    assert "command 'no-such-command' is not found on the PATH of its node" in said


@pytest.mark.slow
async def test_a_host_port_that_is_taken(
    calm: LocalCluster, operator: Operator, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ports = [{"container_port": 80, "host_port": port}]
        container: dict[str, Any] = {"command": ["sleep", "100000"], "ports": ports}
        said = await asyncio.to_thread(awaited, calm, tmp_path / "w.yaml", "squeezed", **container)
    assert f"host port {port}/tcp is already in use" in said
