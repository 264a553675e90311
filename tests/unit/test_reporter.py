"""The reporter: fenced writes of what a node sees, through lost sessions and foreign edits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.agent.reporter import Reporter
from orchestrator.model.instance import (
    InstanceName,
    InstanceObservation,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.records import dump
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.patience import Patience
from store.transactions import SessionFence, stamp_of
from store.values import DeleteOp, KeyValue, PutOp, RangeOp, Txn
from tests.support.virtual_time import in_virtual_time, virtual_now

NAME = InstanceName("default", "web", 0, 1)
KEY = Keys().observation(InstancePlace("n1", NAME))
SESSION = Keys().session("n1")
Status = WorkloadInstanceStatus


@dataclass
class Desk:
    store: MemoryStore
    reporter: Reporter

    async def row(self) -> KeyValue | None:
        kvs = (await self.store.range(RangeOp(KEY))).kvs
        return kvs[0] if kvs else None

    async def put(self, key: str, value: bytes) -> int:
        return (await self.store.txn(Txn(success=(PutOp(key, value),)))).header.revision

    async def register(self) -> SessionFence:
        """A new session, as after the old one was lost."""
        await self.store.txn(Txn(success=(DeleteOp(SESSION),)))
        fence = SessionFence(SESSION, await self.put(SESSION, b"{}"))
        self.reporter.set_fence(fence)
        return fence


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    store = MemoryCluster(virtual_now).connect("n1")
    rng = random.Random(1)
    patience = Patience(virtual_now, rng, limit_seconds=5.0)
    reporter = Reporter(store, Keys(), "n1", patience=lambda: patience, rng=rng)
    await reporter.load()
    task = asyncio.create_task(reporter.run())
    try:
        yield Desk(store, reporter)
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
        await it.store.txn(Txn(success=(DeleteOp(SESSION),)))
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
        assert (await it.store.range(RangeOp(other_key))).kvs[0].value.startswith(b'{"status"')
