"""A leader at its desk, on a store in memory: it plans and commits when it is told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.cluster.events import EventLog
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.committer import Committer
from orchestrator.model.actions import Plan
from orchestrator.model.instance import InstanceObservation, WorkloadInstanceStatus
from orchestrator.model.keys import Keys
from orchestrator.model.node import Leader, NodeReport, NodeSession
from orchestrator.model.records import Record, dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition
from orchestrator.planning.plan import plan
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.memory.link import Link
from store.memory.store import MemoryStore
from store.patience import Patience
from store.transactions import Leadership
from store.values import DeleteOp, PutOp, Txn

KEYS = Keys()


PATIENCE_SECONDS = 5.0


@dataclass
class Office:
    """`link` is the leader's connection; people have one of their own."""

    memory: MemoryCluster
    link: Link
    people: MemoryStore
    view: ClusterView
    events: EventLog
    committer: Committer

    async def put(self, key: str, record: Record) -> int:
        return (await self.people.txn(Txn(success=(PutOp(key, dump(record)),)))).header.revision

    async def delete(self, key: str) -> None:
        await self.people.txn(Txn(success=(DeleteOp(key),)))

    async def apply(self, spec: WorkloadDefinition) -> None:
        """And wait until the leader knows."""
        await self.put(KEYS.revision(spec.key, 1), spec.template())
        await self.view.reached(await self.put(KEYS.workload(spec.key), DesiredWorkload(spec, 1)))

    def plan(self) -> Plan:
        return plan(self.view.state, virtual_now(), VectorScheduler())

    async def report(self, status: WorkloadInstanceStatus) -> None:
        """What the node's agent says of the only instance that there is."""
        ((place, entry),) = self.view.state.assignments.items()
        observation = InstanceObservation(status, entry.create_revision)
        await self.view.reached(await self.put(KEYS.observation(place), observation))

    async def assigned(self, count: int) -> None:
        """Wait until the leader sees that so many are."""
        await self.view.mirror.until(lambda: len(self.view.state.assignments) == count)


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """One node is there, and nothing runs on it."""
    memory = MemoryCluster(virtual_now)
    rng = random.Random(1)
    view = ClusterView(memory.connect("leader"), KEYS, clock=virtual_now, rng=rng)
    watching = asyncio.create_task(view.run())
    events = EventLog(view.store, KEYS, by="c1", wall_clock=virtual_now, rng=rng)
    lead = PutOp(KEYS.leader, dump(Leader("c1")))
    epoch = (await view.store.txn(Txn(success=(lead,)))).header.revision
    committer = Committer(
        view.store,
        Leadership(KEYS.leader, epoch),
        events,
        patience=lambda: Patience(virtual_now, rng, PATIENCE_SECONDS),
        rng=rng,
    )
    desk = Office(memory, memory.link("leader"), memory.connect("people"), view, events, committer)
    has = NodeResources(cpu_cores=4, memory_mb=4000)
    await desk.put(KEYS.session("n1"), NodeSession("n1"))
    await view.reached(await desk.put(KEYS.node_report("n1"), NodeReport("http://n1", has, has)))
    try:
        yield desk
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
