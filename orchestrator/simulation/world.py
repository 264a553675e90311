"""A whole cluster in one event loop: the product's own controllers, API and agents, a store in
memory, and machines that run nothing.

Meant for virtual time. Replicas and agents can be killed (no good-bye), stopped in order, cut
off, and started again; the nodes' containers outlive their agents.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from orchestrator.agent.agent import Agent, AgentSettings
from orchestrator.agent.home import AgentHome
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.node_report import NodeProfile
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.events import EventLog
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.leader import LeaderLoop, LeaderSettings, Peers
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
from orchestrator.simulation.desk import Desk
from orchestrator.simulation.machine import Machine, SimulatedPorts, survey
from orchestrator.simulation.truth import Truth
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.protocol import Store
from store.values import DeleteOp, PutOp, Txn

LAST_SECONDS = 60.0


class World:
    """`state` is what the store really holds; `desks` are the replicas' APIs."""

    def __init__(self, path: Path, *, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.keys = Keys()
        self.store = MemoryCluster(virtual_now, random.Random(seed + 1))
        self.machines: dict[str, Machine] = {}
        self.controllers: dict[str, asyncio.Task[None]] = {}
        self.desks: dict[str, Desk] = {}
        self.truth = Truth(self.store, self.keys)
        self._path = path

    @property
    def state(self) -> ClusterState:
        return self.truth.state

    @contextlib.asynccontextmanager
    async def running(self, controllers: int = 3, nodes: int = 3) -> AsyncIterator[World]:
        for index in range(1, controllers + 1):
            self.start_controller(f"c{index}")
        for index in range(1, nodes + 1):
            self.start_agent(f"n{index}")
        try:
            yield self
        finally:
            self._let_go()
            lives = [each.life for each in self.machines.values() if each.life]
            await _all_ended([*self.controllers.values(), *lives])

    def _let_go(self) -> None:
        """It ends: nothing may hold anybody up any more."""

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
        events = EventLog(view.store, self.keys, by=name, wall_clock=virtual_now, rng=rng)
        desk = self.desks[name] = Desk(view, DesiredWriter(view, events, rng=rng))
        loop = LeaderLoop(
            view,
            VectorScheduler(),
            events,
            LeaderMetrics(CollectorRegistry()),
            identity=Leader(name),
            rng=rng,
            settings=LeaderSettings(),
            peers=self._peers(name),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(view.run())
            tasks.create_task(desk.serve())
            tasks.create_task(loop.run())

    def _peers(self, _name: str) -> Peers | None:
        """How that replica knows of the leader's death: by the end of its lease alone."""
        return None

    def _new_view(self, name: str) -> ClusterView:
        rng = random.Random(self.rng.random())
        return ClusterView(self._store_of(name), self.keys, clock=virtual_now, rng=rng)

    def _store_of(self, name: str) -> Store:
        """As that process reaches it."""
        return self.store.connect(name)

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
        life = self._agent(machine, runtime or self._new_runtime(machine))
        machine.life = asyncio.create_task(life)

    def _new_runtime(self, machine: Machine) -> SimulatedRuntime:
        return SimulatedRuntime(machine.host)

    def _new_host(self, _name: str) -> SimulatedHost:
        return SimulatedHost(virtual_now, random.Random(self.rng.random()))

    async def _agent(self, machine: Machine, runtime: SimulatedRuntime) -> None:
        rng = random.Random(self.rng.random())
        with AgentHome(machine.path, rng) as home:
            agent = Agent(
                self._store_of(machine.name),
                self.keys,
                runtime,
                home,
                images=None,
                volumes=NodeVolumes(machine.path / "volumes", VolumeTerms(), lambda _: False),
                ports=SimulatedPorts(machine.name, 31000, 31999),
                metrics=AgentMetrics(CollectorRegistry()),
                settings=AgentSettings(
                    machine.name,
                    NodeProfile(f"http://{machine.name}"),
                    accepts_store=machine.accepts_store,
                ),
                clock=virtual_now,
                rng=rng,
                now=virtual_now,
                survey=survey,
                watchdog=machine.host.watchdog,
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

    async def run(self, spec: WorkloadDefinition) -> None:
        """Apply what alone is wanted then, and wait until all of it runs."""
        await self.apply(spec)
        await self.until(self.runs(spec.replicas))

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


async def _all_ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Whoever does not heed being cancelled is a bug."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    done, left = await asyncio.wait(tasks, timeout=LAST_SECONDS)
    await asyncio.gather(*done, return_exceptions=True)
    assert not left, f"cancelled, and still there: {left}"


async def _ended(task: asyncio.Task[None]) -> None:
    await _all_ended([task])
