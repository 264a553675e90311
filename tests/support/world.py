"""A whole cluster in one event loop: real controllers and agents, memory store, simulated nodes.

Meant for virtual time. Replicas and agents can be killed (no good-bye), stopped in order, cut
off, and started again; the nodes' containers outlive their agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from orchestrator.agent.agent import Agent, AgentSettings
from orchestrator.agent.home import AgentHome
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile
from orchestrator.agent.ports import PortPicker
from orchestrator.cluster.events import EventLog
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.leader import LeaderLoop, LeaderSettings
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Wanted
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import Leader
from orchestrator.model.records import dump
from orchestrator.model.views import status_of
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition, WorkloadKey
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import SimulatedHost
from orchestrator.runtime.volumes.node_volumes import NodeVolumes, VolumeTerms
from orchestrator.scheduler.vector import VectorScheduler
from store.memory.cluster import MemoryCluster
from store.values import DeleteOp, PutOp, Txn
from tests.support.virtual_time import virtual_now


@dataclass
class Machine:
    """A node: its disk, what runs on it, and the agent's present life, if there is one."""

    name: str
    path: Path
    host: SimulatedHost
    life: asyncio.Task[None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class World:
    """`state` is an onlooker's view: it takes no part."""

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.keys = Keys()
        self.store = MemoryCluster(virtual_now, random.Random(seed + 1))
        self.machines: dict[str, Machine] = {}
        self.controllers: dict[str, asyncio.Task[None]] = {}
        self._path = path
        self._view = self._new_view("onlooker")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def state(self) -> ClusterState:
        return self._view.state

    @contextlib.asynccontextmanager
    async def running(self, controllers: int = 3, nodes: int = 3) -> AsyncIterator[World]:
        self._tasks.append(asyncio.create_task(self._view.run()))
        for index in range(1, controllers + 1):
            self.start_controller(f"c{index}")
        for index in range(1, nodes + 1):
            self.start_agent(f"n{index}")
        try:
            yield self
        finally:
            lives = [each.life for each in self.machines.values() if each.life]
            everybody = [*self._tasks, *self.controllers.values(), *lives]
            for task in everybody:
                task.cancel()
            await asyncio.gather(*everybody, return_exceptions=True)

    # Controllers

    def start_controller(self, name: str) -> None:
        self.controllers[name] = asyncio.create_task(self._controller(name))

    def restart_what_ended(self) -> None:
        """As systemd would: leaders end themselves when they cannot be sure to lead."""
        for name, task in list(self.controllers.items()):
            if task.done() and task.exception():
                self.start_controller(name)

    async def _controller(self, name: str) -> None:
        view = self._new_view(name)
        rng = random.Random(self.rng.random())
        loop = LeaderLoop(
            view,
            VectorScheduler(),
            EventLog(view.store, self.keys, by=name, wall_clock=virtual_now, rng=rng),
            LeaderMetrics(CollectorRegistry()),
            identity=Leader(name),
            rng=rng,
            settings=LeaderSettings(),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(view.run())
            tasks.create_task(loop.run())

    def _new_view(self, name: str) -> ClusterView:
        rng = random.Random(self.rng.random())
        return ClusterView(self.store.connect(name), self.keys, clock=virtual_now, rng=rng)

    @property
    def leader(self) -> str:
        return self.state.leader.record.replica if self.state.leader else ""

    async def kill_controller(self, name: str) -> None:
        """As by kill -9: nothing is said, the lease runs out by itself."""
        self.store.cut(name)
        await _ended(self.controllers.pop(name))
        self.store.resume(name)

    async def stop_controller(self, name: str) -> None:
        await _ended(self.controllers.pop(name))

    # Nodes

    def start_agent(self, name: str, runtime: SimulatedRuntime | None = None) -> None:
        machine = self.machines.get(name)
        if machine is None:
            machine = self.machines[name] = Machine(name, self._path / name, self._new_host(name))
        machine.stop = asyncio.Event()
        life = self._agent(machine, runtime or SimulatedRuntime(machine.host))
        machine.life = asyncio.create_task(life)

    def _new_host(self, _name: str) -> SimulatedHost:
        return SimulatedHost(virtual_now, random.Random(self.rng.random()))

    async def _agent(self, machine: Machine, runtime: SimulatedRuntime) -> None:
        rng = random.Random(self.rng.random())
        with AgentHome(machine.path, rng) as home:
            agent = Agent(
                self.store.connect(machine.name),
                self.keys,
                runtime,
                home,
                images=None,
                volumes=NodeVolumes(machine.path / "volumes", VolumeTerms(), lambda _: False),
                ports=PortPicker(machine.name, 31000, 31999),
                metrics=AgentMetrics(CollectorRegistry()),
                settings=AgentSettings(machine.name, NodeProfile(f"http://{machine.name}")),
                clock=virtual_now,
                rng=rng,
            )
            await agent.run(machine.stop)

    async def kill_agent(self, name: str) -> None:
        machine = self.machines[name]
        assert machine.life
        self.store.cut(name)
        await _ended(machine.life)
        machine.life = None
        self.store.resume(name)

    def pids(self, node: str) -> dict[str, int | None]:
        containers = self.machines[node].host.containers
        return {name: each.status.pid for name, each in containers.items()}

    # People

    async def apply(self, spec: WorkloadDefinition) -> None:
        """As the API does it, but without asking."""
        known = self.state.workloads.get(spec.key)
        generations = [name.generation for name in self.state.revisions_of(spec.key)]
        is_same = known and known.record.spec.template() == spec.template()
        generation = (
            known.record.generation if known and is_same else 1 + max(generations, default=0)
        )
        desired = DesiredWorkload(spec, generation)
        revision = self.keys.revision(spec.key, generation)
        puts = (
            PutOp(self.keys.workload(spec.key), dump(desired)),
            PutOp(revision, dump(spec.template())),
        )
        await self.store.connect("people").txn(Txn(success=puts))

    async def delete(self, key: WorkloadKey) -> None:
        delete = DeleteOp(self.keys.workload(key))
        await self.store.connect("people").txn(Txn(success=(delete,)))

    # Waiting

    async def until(self, holds: Callable[[], bool], within: float = 60.0) -> None:
        """Wait, in the world's time, until it holds of what the onlooker sees."""
        deadline = virtual_now() + within
        while not holds():
            assert virtual_now() < deadline, f"not within {within} s of the world's time"
            await asyncio.sleep(0.01)

    def wanted(self) -> list[InstancePlace]:
        places = (
            place
            for place, entry in self.state.assignments.items()
            if entry.record.wanted is Wanted.RUNNING
        )
        return sorted(places, key=lambda place: place.instance)

    def runs(self, count: int) -> Callable[[], bool]:
        """Exactly so many instances are wanted, and all of them run."""

        def holds() -> bool:
            places = self.wanted()
            statuses = {status_of(self.state, place).value for place in places}
            return len(places) == count and statuses <= {"Running"}

        return holds

    def names(self) -> list[str]:
        return [f"{place.instance.slot}.{place.instance.attempt}" for place in self.wanted()]


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
