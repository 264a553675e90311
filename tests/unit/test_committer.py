"""The committer and the reconciler on a store that answers late, refuses, or has been edited."""

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
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import Leader, NodeReport, NodeSession
from orchestrator.model.records import Record, dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition
from orchestrator.planning.plan import plan
from orchestrator.scheduler.spread import SpreadScheduler
from store.memory.cluster import MemoryCluster
from store.memory.meanness import Trip
from store.patience import Patience
from store.transactions import Leadership
from store.values import DeleteOp, PutOp, Txn
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time, virtual_now

KEYS = Keys()


@dataclass
class Office:
    """A leader at its desk: plans when it is told to."""

    memory: MemoryCluster
    view: ClusterView
    events: EventLog
    committer: Committer

    async def put(self, key: str, record: Record) -> int:
        return await self.put_bytes(key, dump(record))

    async def put_bytes(self, key: str, value: bytes) -> int:
        store = self.memory.connect("people")
        return (await store.txn(Txn(success=(PutOp(key, value),)))).header.revision

    async def apply(self, spec: WorkloadDefinition) -> None:
        revision = await self.put(KEYS.revision(spec.key, 1), spec.template())
        revision = await self.put(KEYS.workload(spec.key), DesiredWorkload(spec, 1))
        await self.view.reached(revision)

    def plan(self) -> Plan:
        return plan(self.view.state, virtual_now(), SpreadScheduler())


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    memory = MemoryCluster(virtual_now)
    rng = random.Random(1)
    view = ClusterView(memory.connect("leader"), KEYS, clock=virtual_now, rng=rng)
    watching = asyncio.create_task(view.run())
    events = EventLog(view.store, KEYS, by="c1", wall_clock=virtual_now, rng=rng)
    patience = Patience(virtual_now, rng, limit_seconds=5.0)
    lead = PutOp(KEYS.leader, dump(Leader("c1")))
    epoch = (await view.store.txn(Txn(success=(lead,)))).header.revision
    committer = Committer(
        view.store, Leadership(KEYS.leader, epoch), events, patience=lambda: patience, rng=rng
    )
    desk = Office(memory, view, events, committer)
    has = NodeResources(cpu_cores=4, memory_mb=4000)
    await desk.put(KEYS.session("n1"), NodeSession("n1"))
    await view.reached(await desk.put(KEYS.node_report("n1"), NodeReport("http://n1", has, has)))
    try:
        yield desk
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@in_virtual_time
async def test_what_a_person_changes_between_plan_and_commit_is_not_acted_on() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(3))
        made = desk.plan()
        slow_grant = Trip(request_seconds=1.0)
        desk.memory.link("leader").luck.arrange(slow_grant)
        committing = asyncio.create_task(desk.committer.carry_out(made, desk.view.state))
        await asyncio.sleep(0.5)
        await desk.apply(web(1))
        report = await committing
        assert report.committed == 0
        assert [conflict.keys for conflict, _ in report.conflicts] == [(KEYS.workload(web().key),)]


@in_virtual_time
async def test_a_row_that_vanishes_between_plan_and_commit_is_a_conflict_and_no_crash() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(2))
        await desk.committer.carry_out(desk.plan(), desk.view.state)
        await desk.view.mirror.until(lambda: len(desk.view.state.assignments) == 3)
        await desk.apply(web(0, name="another"))
        await desk.apply(web(0))
        made = desk.plan()
        desk.events.forget_lease()
        desk.memory.link("leader").luck.arrange(Trip(request_seconds=1.0))
        committing = asyncio.create_task(desk.committer.carry_out(made, desk.view.state))
        await asyncio.sleep(0.5)
        assert desk.view.state.assignments
        row = KEYS.assignment(InstancePlace("n1", InstanceName("default", "web", 0, 1)))
        await desk.memory.connect("people").txn(Txn(success=(DeleteOp(row),)))
        report = await committing
        assert [conflict.keys for conflict, _ in report.conflicts] == [(row,)]
