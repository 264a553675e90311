"""The reporter: fenced writes of what a node sees, through lost sessions and foreign edits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.agent.reporter import AUDIT_SECONDS, Reporter
from orchestrator.model.instance import (
    InstanceName,
    InstanceObservation,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Keys, VolumePlace
from orchestrator.model.node import NodeReport
from orchestrator.model.records import dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.memory.cluster import MemoryCluster
from store.memory.meanness import Trip
from store.memory.store import MemoryStore
from store.patience import Patience
from store.stamps import stamp_of
from store.transactions import SessionFence
from store.values import DeleteOp, KeyValue, PutOp, RangeOp, Txn

NAME = InstanceName("default", "web", 0, 1)
KEY = Keys().observation(InstancePlace("n1", NAME))
SESSION = Keys().session("n1")
TTL_SECONDS = 100_000
Status = WorkloadInstanceStatus


@dataclass
class Desk:
    """`people` have a connection of their own."""

    memory: MemoryCluster
    people: MemoryStore
    reporter: Reporter

    async def row(self) -> KeyValue | None:
        kvs = (await self.people.range(RangeOp(KEY))).kvs
        return kvs[0] if kvs else None

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        return (await self.people.txn(Txn(success=(PutOp(key, value, lease),)))).header.revision

    async def register(self) -> SessionFence:
        """A new session, as after the old one was lost."""
        await self.people.txn(Txn(success=(DeleteOp(SESSION),)))
        lease = self.memory.engine.revision
        await self.people.grant_lease(lease, TTL_SECONDS)
        fence = SessionFence(SESSION, await self.put(SESSION, b"{}", lease))
        self.reporter.set_fence(fence)
        return fence


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    memory = MemoryCluster(virtual_now)
    store = memory.connect("n1")
    rng = random.Random(1)
    patience = Patience(virtual_now, rng, limit_seconds=5.0)
    reporter = Reporter(store, Keys(), "n1", clock=virtual_now, patience=lambda: patience, rng=rng)
    await reporter.load()
    task = asyncio.create_task(reporter.run())
    try:
        yield Desk(memory, memory.connect("people"), reporter)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def seen(status: Status, reason: str = "") -> InstanceObservation:
    return InstanceObservation(status, 7, reason)


@in_virtual_time
async def test_what_is_seen_is_written_under_the_session() -> None:
    async with desk() as it:
        fence = await it.register()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await it.reporter.flushed()
        row = await it.row()
        assert row
        assert stamp_of(row.value)["epoch"] == fence.create_revision


@in_virtual_time
async def test_the_same_again_writes_nothing() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await it.reporter.flushed()
        before = await it.row()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await asyncio.sleep(1)
        assert await it.row() == before


@in_virtual_time
async def test_a_status_never_goes_back() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.FAILED))
        it.reporter.report(NAME, seen(Status.RUNNING))
        assert it.reporter.reported[NAME].status is Status.FAILED


@in_virtual_time
async def test_a_new_assignment_of_the_name_begins_anew() -> None:
    async with desk() as it:
        it.reporter.report(NAME, seen(Status.FAILED))
        it.reporter.report(NAME, InstanceObservation(Status.PENDING, 8))
        assert it.reporter.reported[NAME].status is Status.PENDING


@in_virtual_time
async def test_without_a_session_reports_wait_for_the_next_one() -> None:
    async with desk() as it:
        it.reporter.report(NAME, seen(Status.RUNNING))
        await asyncio.sleep(10)
        assert await it.row() is None
        await it.register()
        await it.reporter.flushed()
        assert await it.row()


@in_virtual_time
async def test_a_lost_session_writes_nothing_until_there_is_a_new_one() -> None:
    async with desk() as it:
        await it.register()
        await it.people.txn(Txn(success=(DeleteOp(SESSION),)))
        it.reporter.report(NAME, seen(Status.RUNNING))
        await asyncio.sleep(10)
        assert await it.row() is None
        await it.register()
        await it.reporter.flushed()
        assert await it.row()


@in_virtual_time
async def test_a_foreign_edit_is_written_over_with_what_is_seen() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await it.reporter.flushed()
        await it.put(KEY, b'{"status": "Failed"}')
        it.reporter.report(NAME, seen(Status.RUNNING, "still here"))
        await it.reporter.flushed()
        row = await it.row()
        assert row
        assert b"still here" in row.value


@in_virtual_time
async def test_what_is_forgotten_is_deleted() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.SUCCEEDED))
        await it.reporter.flushed()
        it.reporter.retract(NAME)
        await it.reporter.flushed()
        assert await it.row() is None


@in_virtual_time
async def test_an_earlier_life_is_taken_up_and_damage_is_written_anew() -> None:
    async with desk() as it:
        other = InstanceName("default", "web", 1, 1)
        other_key = Keys().observation(InstancePlace("n1", other))
        await it.put(KEY, dump(seen(Status.FAILED)))
        await it.put(other_key, b"no json")
        await it.reporter.load()
        assert it.reporter.reported == {NAME: seen(Status.FAILED)}
        await it.register()
        it.reporter.report(other, seen(Status.RUNNING))
        await it.reporter.flushed()
        assert (await it.people.range(RangeOp(other_key))).kvs[0].value.startswith(b'{"status"')


@in_virtual_time
async def test_a_commit_that_lost_its_fence_does_not_take_away_the_next_one() -> None:
    async with desk() as it:
        await it.register()
        it.memory.link("n1").luck.arrange(Trip(reply_seconds=2.0))
        it.reporter.report(NAME, seen(Status.RUNNING))
        await asyncio.sleep(0.1)
        await it.people.txn(Txn(success=(DeleteOp(SESSION),)))
        it.memory.link("n1").luck.arrange(Trip(reply_seconds=2.0))
        await asyncio.sleep(2.0)
        it.reporter.report(NAME, seen(Status.TERMINATING))
        await asyncio.sleep(0.1)
        await it.register()
        await it.reporter.flushed()
        row = await it.row()
        assert row
        assert b"Terminating" in row.value


@in_virtual_time
async def test_a_row_that_somebody_deletes_is_written_again() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await it.reporter.flushed()
        await it.people.txn(Txn(success=(DeleteOp(KEY),)))
        await asyncio.sleep(AUDIT_SECONDS + 1)
        assert await it.row()


@in_virtual_time
async def test_a_node_report_that_somebody_deletes_is_written_again() -> None:
    async with desk() as it:
        await it.register()
        has = NodeResources(cpu_cores=4)
        it.reporter.report_node(NodeReport("http://n1", has, has))
        await it.reporter.flushed()
        key = Keys().node_report("n1")
        await it.people.txn(Txn(success=(DeleteOp(key),)))
        await asyncio.sleep(AUDIT_SECONDS + 1)
        assert (await it.people.range(RangeOp(key))).kvs


@in_virtual_time
async def test_a_late_copy_of_a_report_that_was_taken_back_is_cleared_away() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.SUCCEEDED))
        await it.reporter.flushed()
        it.reporter.retract(NAME)
        await it.reporter.flushed()
        await it.put(KEY, dump(seen(Status.PENDING)))
        await asyncio.sleep(AUDIT_SECONDS + 1)
        assert await it.row() is None


@in_virtual_time
async def test_a_row_that_is_nobodys_is_left_alone() -> None:
    async with desk() as it:
        await it.register()
        key = Keys().observations("n1") + "a-note-by-somebody"
        await it.put(key, b"{}")
        await asyncio.sleep(AUDIT_SECONDS + 1)
        assert (await it.people.range(RangeOp(key))).kvs


@in_virtual_time
async def test_a_session_row_that_somebody_deletes_is_noticed_without_a_report() -> None:
    async with desk() as it:
        lost = asyncio.Event()
        fence = await it.register()
        it.reporter.set_fence(fence, on_lost=lost.set)
        await it.people.txn(Txn(success=(DeleteOp(SESSION),)))
        async with asyncio.timeout(AUDIT_SECONDS + 1):
            await lost.wait()


@in_virtual_time
async def test_a_session_row_that_somebody_took_off_its_lease_is_given_up() -> None:
    """It would say that this agent lives when it is long dead."""
    async with desk() as it:
        lost = asyncio.Event()
        fence = await it.register()
        it.reporter.set_fence(fence, on_lost=lost.set)
        await it.put(SESSION, b'{"pid": 1}')
        async with asyncio.timeout(AUDIT_SECONDS + 1):
            await lost.wait()


@in_virtual_time
async def test_nothing_is_written_by_looking_after_the_rows() -> None:
    async with desk() as it:
        await it.register()
        it.reporter.report(NAME, seen(Status.RUNNING))
        await it.reporter.flushed()
        before = it.memory.engine.revision
        await asyncio.sleep(10 * AUDIT_SECONDS)
        assert it.memory.engine.revision == before


@in_virtual_time
async def test_other_rows_of_the_node_are_written_once_and_taken_back() -> None:
    key = Keys().volume(VolumePlace("n1", VolumeName("default", "web", 0, "db")))
    async with desk() as it:
        it.reporter.say(key, NodeVolume(created_at=1.0))
        waiting = asyncio.create_task(it.reporter.written([key]))
        await asyncio.sleep(60)
        assert not waiting.done()
        await it.register()
        await waiting
        [row] = (await it.people.range(RangeOp(key))).kvs
        it.reporter.say(key, NodeVolume(created_at=1.0))
        await it.reporter.written([key])
        assert (await it.people.range(RangeOp(key))).kvs == (row,)
        it.reporter.unsay(key)
        await it.reporter.written([key])
        assert (await it.people.range(RangeOp(key))).kvs == ()
