"""A local cluster for benchmarks: the processes of `orc up`, each of which a benchmark can kill."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp

from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import Refused, ServerUnreachable
from orchestrator.local.child import Child, Program
from orchestrator.local.data_dir import DataDir
from orchestrator.local.etcd import choose_etcd, installed_etcds
from orchestrator.local.ports import PortPlan
from orchestrator.local.programs import Layout
from orchestrator.model.errors import ConfigError
from orchestrator.model.views import WorkloadInstance

T = TypeVar("T")

DEADLINE_SECONDS = 90.0
LOOK_SECONDS = 0.02
BASE_PORTS = range(11_000, 30_000, 1_000)


@dataclass
class BenchCluster:
    """`client` speaks to all controllers in turn; children are found by name (e1, c1, n1, ...)."""

    layout: Layout
    client: ApiClient
    tasks: asyncio.TaskGroup
    children: dict[str, Child] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return self.layout.etcd_endpoints[0]

    async def start(self, programs: list[Program]) -> None:
        """Start them, and wait until each says that it is ready."""
        for program in programs:
            child = Child(program, announce=lambda _text: None, on_start=lambda: None)
            self.children[program.name] = child
            self.tasks.create_task(child.keep_running())
        await self.ready()

    async def ready(self) -> None:
        """Wait until every process says that it is ready."""
        async with aiohttp.ClientSession() as session:
            for child in self.children.values():
                await until(partial(_is_ready, session, child.program.ready_url))

    def kill(self, name: str) -> None:
        """As by kill -9; it is started again, as systemd would."""
        self.children[name].send(signal.SIGKILL)

    async def restart(self, name: str) -> None:
        """For one that has ended in good order: it is not started again by itself."""
        await self.start([self.children[name].program])

    async def ended(self, name: str) -> None:
        """Wait for the end of a process that was asked to stop."""

        async def gone() -> bool | None:
            return None if self.children[name].pid else True

        await until(gone)

    async def replaced(self, name: str, pid: int) -> None:
        """Wait until another process than `pid` runs under that name."""

        async def found() -> bool | None:
            return True if self.children[name].pid not in (None, pid) else None

        await until(found)

    async def stop(self) -> None:
        """Controllers, then agents with their instances, then etcd."""
        for initial in "cne":
            children = [each for name, each in self.children.items() if name.startswith(initial)]
            await asyncio.gather(*(child.stop(60.0) for child in children))

    async def leader(self) -> str:
        """The name of the replica that leads, as soon as one does."""

        async def found() -> str | None:
            leader = (await self.client.cluster()).leader
            return leader.replica if leader else None

        return await until(found)

    async def running(self, workload: str, count: int) -> list[WorkloadInstance]:
        """The instances of a workload once exactly so many are there, and all of them run."""

        async def found() -> list[WorkloadInstance] | None:
            items = (await self.client.instances(workload=workload)).items
            runs = len(items) == count and all(each.status == "Running" for each in items)
            return list(items) if runs else None

        return await until(found)


async def until(found: Callable[[], Awaitable[T | None]]) -> T:
    """What `found` answers once it answers anything; fails after `DEADLINE_SECONDS`."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        with suppress(Refused, ServerUnreachable):
            if (answer := await found()) is not None:
                return answer
        assert time.monotonic() < deadline, f"nothing after {DEADLINE_SECONDS:g} s"
        await asyncio.sleep(LOOK_SECONDS)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool | None:
    try:
        async with session.get(url) as answer:
            return True if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


@asynccontextmanager
async def bench_cluster(
    controllers: int = 3,
    agents: int = 3,
    agent_flags: Sequence[str] = (),
    *,
    etcd_members: int = 1,
) -> AsyncIterator[BenchCluster]:
    """As many controllers, agents and etcd members as said, in a temporary directory.
    `agent_flags` stand over those that agents have anyway."""
    with tempfile.TemporaryDirectory(prefix="orc-bench-") as path:
        data_dir = DataDir(Path(path) / "data")
        data_dir.create()
        plan = free_plan(controllers, agents, etcd_members)
        etcd = choose_etcd(installed_etcds(), data_dir, data_dir.kept())
        endpoints = tuple(f"http://{plan.etcd_client(index)}" for index in range(etcd_members))
        layout = Layout(data_dir, plan, etcd, endpoints)
        async with ApiClient(layout.servers) as client, asyncio.TaskGroup() as tasks:
            cluster = BenchCluster(layout, client, tasks)
            try:
                await cluster.start(layout.etcd_members())
                await cluster.start(
                    [_with_flags(each, agent_flags) for each in layout.node_agents()]
                )
                await cluster.start(layout.controllers())
                yield cluster
            finally:
                await cluster.stop()


def _with_flags(program: Program, flags: Sequence[str]) -> Program:
    return replace(program, command=(*program.command, *flags))


def free_plan(controllers: int, agents: int, etcd_members: int = 1) -> PortPlan:
    for base in BASE_PORTS:
        plan = PortPlan(base, controllers, agents, etcd_members)
        with suppress(ConfigError):  # taken: the next one
            plan.check()
            return plan
    raise ConfigError(f"no free ports among those from {BASE_PORTS[0]} to {BASE_PORTS[-1]}")
