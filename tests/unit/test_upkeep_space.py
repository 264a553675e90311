"""How full the store is, what follows from it, and who makes room."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.model.keys import Keys
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.upkeep.metrics import UpkeepMetrics
from orchestrator.upkeep.room import make_room
from orchestrator.upkeep.space import DEFAULT_QUOTA_BYTES, Fill, Level, fill_of, measures_of
from orchestrator.upkeep.watch import (
    FULL_LOOK_SECONDS,
    RESCUE_AGAIN_SECONDS,
    SpaceWatch,
    WatchTerms,
)
from store.errors import NoSpace
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.protocol import Store
from store.values import Header, MemberStatus, PutOp, Txn
from tests.support.stores import get, put

KEYS = Keys()
GIB = 1024**3
HOUR = 500_000
NOW = HOUR * 3600.0


def status(file_bytes: int, in_use_bytes: int, *, quota_bytes: int = 0) -> MemberStatus:
    return MemberStatus(
        endpoint="http://m1",
        header=Header(1, 1, 1, 1),
        version="3.6.14",
        leader_id=1,
        db_size_bytes=file_bytes,
        db_size_in_use_bytes=in_use_bytes,
        quota_bytes=quota_bytes,
    )


@pytest.mark.parametrize(
    ("file_share", "in_use_share", "level", "does"),
    [
        (0.5, 0.5, Level.ROOMY, ""),
        (0.79, 0.59, Level.ROOMY, ""),
        (0.8, 0.1, Level.ROOMY, "shrinks"),
        (0.6, 0.6, Level.LOW, "warns"),
        (0.8, 0.8, Level.TIGHT, "warns shrinks thins"),
        (0.9, 0.9, Level.CRITICAL, "warns shrinks thins refuses"),
        (0.95, 0.2, Level.CRITICAL, "warns shrinks thins refuses"),
    ],
)
def test_what_is_done_follows_from_how_full_it_is(
    file_share: float, in_use_share: float, level: Level, does: str
) -> None:
    measures = measures_of(Fill(round(file_share * 1000), round(in_use_share * 1000), 1000))
    assert measures.level is level
    assert does.split() == [
        word
        for word, is_so in (
            ("warns", measures.warning),
            ("shrinks", measures.must_shrink),
            ("thins", measures.thins_events),
            ("refuses", measures.refuses_growth),
        )
        if is_so
    ]


def test_a_warning_says_how_much_is_taken_and_what_to_do() -> None:
    warning = measures_of(Fill(7 * GIB // 10, 65 * GIB // 100, GIB)).warning
    assert warning.startswith("etcd is 65% full (665.6 MiB in a file of 716.8 MiB, of 1024.0 MiB")
    assert "raise etcd's --quota-backend-bytes" in warning


def test_a_store_that_is_out_of_space_refuses_growth_whatever_its_size() -> None:
    measures = measures_of(Fill(1, 1, GIB, is_full=True))
    assert measures.level is Level.FULL
    assert measures.refuses_growth
    assert "`orc etcd make-room`" in measures.warning


def test_the_fullest_member_counts_against_the_quota_that_is_told_or_known() -> None:
    members = [status(4, 1), status(3, 3, quota_bytes=10)]
    assert fill_of(members, None) == Fill(3, 3, 10)
    assert fill_of(members, 100) == Fill(3, 3, 100)
    assert fill_of(members[:1], None) == Fill(4, 1, DEFAULT_QUOTA_BYTES)
    assert fill_of([], 100) is None
    assert measures_of(None).level is Level.ROOMY


async def fill_up(store: Store, prefix: str = "") -> None:
    """With history; with a `prefix`, with keys, of which no rescue makes less."""
    with suppress(NoSpace):
        for number in range(1000):
            key = f"{prefix}{number}" if prefix else "/junk"
            await store.txn(Txn(success=(PutOp(key, b"x" * 10_000),)))


def watch_of(store: Store, *, seed: int = 1, may_rescue: bool = True) -> SpaceWatch:
    return SpaceWatch(
        store,
        KEYS,
        UpkeepMetrics(CollectorRegistry()),
        clock=virtual_now,
        wall_clock=lambda: NOW,
        rng=random.Random(seed),
        terms=WatchTerms(quota_bytes=200_000, may_rescue=may_rescue),
    )


def small_cluster() -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(1), quota_bytes=200_000)


@in_virtual_time
async def test_making_room_drops_past_events_and_keeps_the_rest() -> None:
    store = small_cluster().connect("me")
    await put(store, KEYS.event(HOUR - 1, "old"))
    await put(store, KEYS.event(HOUR, "fresh"))
    await put(store, "/kept")
    assert await make_room(store, KEYS, lambda: NOW, print) is None
    await fill_up(store)

    made = await make_room(store, KEYS, lambda: NOW, print)

    assert made
    assert made.freed_bytes > 100_000
    assert not await get(store, KEYS.event(HOUR - 1, "old"))
    assert await get(store, KEYS.event(HOUR, "fresh"))
    assert await get(store, "/kept")
    await put(store, "/more")


class CountingStore(MemoryStore):
    """Counts how often a member had to stand still."""

    def __init__(self, memory: MemoryCluster, client: str) -> None:
        memory.connect(client)
        super().__init__(memory, memory.link(client))
        self.defragmented = 0

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        self.defragmented += 1
        await super().defragment(endpoint, timeout_seconds=timeout_seconds)


@in_virtual_time
async def test_without_a_leader_one_of_the_replicas_makes_room() -> None:
    memory = small_cluster()
    stores = [CountingStore(memory, name) for name in ("c1", "c2", "c3")]
    watches = [watch_of(store, seed=seed) for seed, store in enumerate(stores)]
    person = memory.connect("person")
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watch.run()) for watch in watches]
        await fill_up(person)
        await asyncio.sleep(12.5)
        assert all(watch.measures.level is Level.FULL for watch in watches)
        await asyncio.sleep(30)
        await put(person, "/more")
        assert sum(store.defragmented for store in stores) == 1
        assert all(watch.measures.level is Level.ROOMY for watch in watches)
        for each in running:
            each.cancel()


@in_virtual_time
async def test_the_leader_is_the_first_to_make_room() -> None:
    memory = small_cluster()
    leader, other = CountingStore(memory, "c1"), CountingStore(memory, "c2")
    watches = [watch_of(leader), watch_of(other)]
    async with asyncio.TaskGroup() as tasks:
        with watches[0].leading():
            await fill_up(memory.connect("person"))
            running = [tasks.create_task(watch.run()) for watch in watches]
            await asyncio.sleep(60)
        assert (leader.defragmented, other.defragmented) == (1, 0)
        for each in running:
            each.cancel()


@in_virtual_time
async def test_what_cannot_be_helped_is_not_tried_without_end() -> None:
    """Keys that fill the quota: each rescue lasts until the next write."""
    memory = small_cluster()
    store = CountingStore(memory, "c1")
    person = memory.connect("person")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch_of(store).run())
        for minute in range(20):
            await fill_up(person, f"/junk/{minute}/")
            await asyncio.sleep(60)
        running.cancel()
    assert 2 <= store.defragmented <= 20 * 60 / RESCUE_AGAIN_SECONDS


@in_virtual_time
async def test_a_watch_that_may_not_act_only_tells() -> None:
    memory = small_cluster()
    store = CountingStore(memory, "c1")
    watch = watch_of(store, may_rescue=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        assert watch.warnings() == ()
        await fill_up(memory.connect("person"))
        await asyncio.sleep(300)
        running.cancel()
    assert store.defragmented == 0
    assert "out of space" in watch.refusal()
    assert watch.warnings() == (watch.refusal(),)
    assert watch.thins_events()


@in_virtual_time
async def test_a_store_that_does_not_answer_leaves_what_was_known_of_it() -> None:
    memory = small_cluster()
    watch = watch_of(memory.connect("c1"), may_rescue=False)
    await fill_up(memory.connect("person"))
    assert await watch.look()
    memory.cut("c1")
    assert not await watch.look()
    assert watch.measures.level is Level.FULL


@pytest.mark.parametrize("may_rescue", [False, True])
@in_virtual_time
async def test_as_soon_as_a_person_has_made_room_nobody_is_refused_any_longer(
    may_rescue: bool,
) -> None:
    memory = small_cluster()
    watch = watch_of(memory.connect("c1"), may_rescue=may_rescue)
    person = memory.connect("person")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.run())
        await fill_up(person)
        while not watch.refusal():
            await asyncio.sleep(0.1)
        assert await make_room(person, KEYS, lambda: NOW, print)
        await asyncio.sleep(2 * FULL_LOOK_SECONDS)
        assert not watch.refusal()
        running.cancel()
