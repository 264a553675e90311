"""The API as `orc` meets it: replicas on loopback ports, in a thread of their own.

What the leader and the agents would write is written by the test, or by `leading`, which gives
every workload at once as many running replicas as it is let.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar

from orchestrator.agent.routes import agent_routes
from orchestrator.cluster.view import ClusterView
from orchestrator.model.instance import (
    ContainerObservation,
    InstanceName,
    InstanceObservation,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace
from orchestrator.model.records import Record
from orchestrator.model.workload import WorkloadStatus
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.protocol import ContainerSpec
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from tests.support.api import KEYS, Replica, World, world
from tests.support.ports import free_port

LIMIT_SECONDS = 20.0

T = TypeVar("T")


class Held:
    """An async context that is entered and left in a task of its own."""

    def __init__(self) -> None:
        self._end = asyncio.Event()
        self._task: asyncio.Task[None]

    async def open(self, context: AbstractAsyncContextManager[T]) -> T:
        opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            async with context as value:
                opened.set_result(value)
                await self._end.wait()

        self._task = asyncio.create_task(hold())
        either: set[asyncio.Future[Any]] = {opened, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        return opened.result()

    async def close(self) -> None:
        self._end.set()
        await self._task


class ServedApi:
    """Use it in a `with`. Its methods may be called from the test's own thread. `options` are those
    of `Api`."""

    def __init__(self, replicas: int = 1, **options: Any) -> None:
        self._options = options
        self._names = [f"controller-{number}" for number in range(replicas)]
        self._held: dict[str, Held] = {}
        self._replicas: dict[str, Replica] = {}
        self._hosts: dict[str, SimulatedHost] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.world: World

    def __enter__(self) -> Self:
        self._thread.start()
        self.world = self.run(self._hold("world", world()))
        for name in self._names:
            self._replicas[name] = self.run(
                self._hold(name, self.world.replica(name, **self._options))
            )
        return self

    def __exit__(self, *_: object) -> None:
        for held in reversed(self._held.values()):
            self.run(held.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_SECONDS)
        self._loop.close()

    @property
    def servers(self) -> list[str]:
        return [replica.api.address for replica in self._replicas.values()]

    @property
    def revision(self) -> int:
        return self.world.revision

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_SECONDS)

    @property
    def attached(self) -> int:
        """How many streams there are to containers, or logs being followed."""
        return sum(replica.api.streams.count for replica in self._replicas.values())

    def stop_agent(self, node: str) -> None:
        """It goes away; its session stays."""
        self.run(self._held.pop(node).close())

    def stop(self, replica: int) -> None:
        """It goes away, and breaks off what it was answering."""
        self.run(self._held.pop(self._names[replica]).close())

    def put(self, key: str, record: Record) -> int:
        return self.run(self.world.put(key, record))

    def drop(self, key: str) -> None:
        self.run(self.world.drop(key))

    def add_node(self, name: str) -> None:
        """A node with an agent that serves the logs of the instances put there."""
        self._hosts[name] = SimulatedHost(time.time, random.Random(1))
        address = self.run(self._hold(name, _agent(name, self._hosts[name])))
        self.run(self.world.add_node(name, address))

    def add_instance(self, name: str, node: str, *lines: str, **observed: Any) -> None:
        """A running instance with one container, `app`, that has written `lines`."""
        host = self._hosts[name] = self._hosts[node]
        spec = ContainerSpec(f"{name}.app", name, "app", 1, ("serve",))
        self.run(SimulatedRuntime(host).create(spec))
        self.write_lines(name, *lines)
        place = InstancePlace(node, InstanceName.parse(name))
        observation = InstanceObservation(
            WorkloadInstanceStatus.RUNNING,
            assignment=self.run(self.world.assign(place)),
            containers=(ContainerObservation("app", spec.id, pid=4711),),
            **observed,
        )
        self.put(KEYS.observation(place), observation)

    def program(self, node: str, command: str, program: Program) -> None:
        """What `command` does there."""
        self._hosts[node].program(command, program)

    def end_instance(self, name: str, exit_code: int = 0) -> None:
        """Its container ends by itself."""

        async def end() -> None:
            self._hosts[name].crash(f"{name}.app", exit_code)

        self.run(end())

    def forget_instance(self, name: str) -> None:
        """It is removed from its node, and its rows go."""
        self.run(SimulatedRuntime(self._hosts[name]).remove(f"{name}.app"))
        for place in list(self._replicas[self._names[0]].api.state.assignments):
            if str(place.instance) == name:
                self.drop(KEYS.assignment(place))
                self.drop(KEYS.observation(place))

    def write_lines(self, name: str, *lines: str) -> None:
        """The instance's container writes more."""

        async def write() -> None:
            for line in lines:
                self._hosts[name].containers[f"{name}.app"].add_line("stdout", line)

        self.run(write())

    @contextmanager
    def leading(self, at_most: int = 1_000_000) -> Iterator[None]:
        """Meanwhile, workloads get the replicas they want, up to `at_most` of each."""
        held = self.run(self._open(_leading(self.world, at_most)))
        try:
            yield
        finally:
            self.run(held.close())

    async def _hold(self, name: str, context: AbstractAsyncContextManager[T]) -> T:
        self._held[name] = Held()
        return await self._held[name].open(context)

    async def _open(self, context: AbstractAsyncContextManager[None]) -> Held:
        held = Held()
        await held.open(context)
        return held


@asynccontextmanager
async def _agent(node: str, host: SimulatedHost) -> AsyncIterator[str]:
    settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
    app = new_app(settings, new_registry("agent"), Health())
    app.add_routes(agent_routes(node, SimulatedRuntime(host)))
    async with serving(app, settings):
        yield settings.url


@asynccontextmanager
async def _leading(there: World, at_most: int) -> AsyncIterator[None]:
    store = there.cluster.connect("leader")
    view = ClusterView(store, KEYS, clock=time.monotonic, rng=random.Random(7))
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        with view.waking(lambda _news: changed.set()):
            leading = _lead(there, view, changed, at_most)
            tasks = [group.create_task(view.run()), group.create_task(leading)]
            yield
            for task in tasks:
                task.cancel()
    await store.close()


async def _lead(there: World, view: ClusterView, changed: asyncio.Event, at_most: int) -> None:
    await view.synced()
    while True:
        changed.clear()
        for key in view.state.workload_keys():
            row, desired = KEYS.workload_status(key), view.state.workloads.get(key)
            known = view.state.statuses.get(key)
            if desired is None:
                await there.drop(row)
                continue
            wanted = desired.record.spec.replicas
            status = _status(desired.record.generation, wanted, min(wanted, at_most))
            if known is None or known.record != status:
                await there.put(row, status)
        await changed.wait()


def _status(generation: int, wanted: int, running: int) -> WorkloadStatus:
    waiting = ("no node has room",) if running < wanted else ()
    return WorkloadStatus(
        generation, desired=wanted, running=running, updated=running, waiting=waiting
    )
