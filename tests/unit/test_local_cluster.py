"""`LocalCluster`: started in order, and stopped whatever its processes do just then."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.child import Program
from orchestrator.local.cluster import LocalCluster
from orchestrator.local.data_dir import DataDir
from orchestrator.local.ports import PortPlan
from orchestrator.local.programs import Layout
from tests.support.ports import free_port

LIMIT_SECONDS = 30.0

READY_AND_GONE = """
import http.server, sys

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).handle_request()
sys.exit(3)
"""
"""Says once that it is ready, and then fails."""


@dataclass(frozen=True, slots=True)
class OneAgent(Layout):
    program: Program

    def node_agents(self) -> list[Program]:
        return [self.program]


def one_agent(path: Path, script: str) -> OneAgent:
    port = free_port()
    command = (sys.executable, "-c", script, str(port))
    url = f"http://127.0.0.1:{port}/"
    program = Program("agent", "n1", command, os.environ, path / "n1.log", port, url)
    data_dir = DataDir(path / "cluster")
    data_dir.create()
    plan = PortPlan(port, controllers=0, agents=1, etcd_members=0)
    return OneAgent(data_dir, plan, None, (), program)


async def test_what_waits_to_be_started_again_is_stopped_as_well(tmp_path: Path) -> None:
    layout = one_agent(tmp_path, READY_AND_GONE)
    said: list[str] = []
    cluster = LocalCluster(layout, said.append)
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        await cluster.start(tasks)
        while said[-1] != "agent n1 ended with 3: starting it again in 0.5 s":
            await asyncio.sleep(0.01)
        await cluster.stop()
    assert said[-1].endswith("starting it again in 0.5 s")
    assert not layout.data_dir.cluster_file.exists()
