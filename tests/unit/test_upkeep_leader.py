"""The leader's care of etcd: what it compacts, defragments, backs up and tells."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.cluster.view import ClusterView
from orchestrator.controller.upkeep import Upkeep, UpkeepTerms
from orchestrator.model.keys import Keys
from orchestrator.model.node import Event
from orchestrator.model.records import dump
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.upkeep.metrics import UpkeepMetrics
from orchestrator.upkeep.snapshots import Snapshot, SnapshotDirectory, seconds_until_due
from orchestrator.upkeep.space import Level
from orchestrator.upkeep.watch import SpaceWatch, WatchTerms
from store.errors import Compacted
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.patience import Clock
from store.values import MemberStatus
from tests.support.stores import get, put, revision_of

KEYS = Keys()
QUOTA_BYTES = 1_000_000


@dataclass
class Leader:
    """`told` are the events' kinds and reasons."""

    memory: MemoryCluster
    store: MemoryStore
    view: ClusterView
    space: SpaceWatch
    upkeep: Upkeep
    registry: CollectorRegistry
    is_trusted: bool = True
    told: list[tuple[str, str]] = field(default_factory=list)

    async def tell(self, kind: str, subject: str, reason: str) -> None:
        assert subject == "etcd"
        self.told.append((kind, reason))

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"orchestrator_etcd_{name}")


@asynccontextmanager
async def leading(
    terms: UpkeepTerms,
    clock: Clock = virtual_now,
    snapshots: SnapshotDirectory | None = None,
    store: MemoryStore | None = None,
) -> AsyncIterator[Leader]:
    memory = MemoryCluster(clock, random.Random(1), quota_bytes=QUOTA_BYTES)
    rng = random.Random(2)
    quota_bytes = 2**31 if store else QUOTA_BYTES
    store = store or memory.connect("leader")
    view = ClusterView(store, KEYS, clock=clock, rng=rng)
    registry = CollectorRegistry()
    metrics = UpkeepMetrics(registry)
    space = SpaceWatch(
        store, KEYS, metrics, clock=clock, wall_clock=clock, rng=rng,
        terms=WatchTerms(quota_bytes=quota_bytes),
    )  # fmt: skip
    upkeep = Upkeep(
        view, space, metrics, wall_clock=clock, rng=rng, terms=terms, snapshots=snapshots,
        find_programs=list,
    )  # fmt: skip
    leader = Leader(memory, store, view, space, upkeep, registry)
    tasks = [
        asyncio.create_task(view.run()),
        asyncio.create_task(space.run()),
        asyncio.create_task(upkeep.tend(leader.tell, lambda: leader.is_trusted)),
        asyncio.create_task(upkeep.keep_snapshots(leader.tell)),
    ]
    try:
        await view.synced()
        yield leader
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def write(leader: Leader, times: int, size: int = 10) -> int:
    for number in range(times):
        revision = await put(leader.store, f"{KEYS.root}x", b"%d" % number + bytes(size))
    return revision


async def is_history(leader: Leader, revision: int) -> bool:
    try:
        await get(leader.store, "any", revision)
    except Compacted:
        return True
    return False


@in_virtual_time
async def test_history_is_compacted_far_behind_the_present() -> None:
    async with leading(UpkeepTerms(compaction_seconds=300.0)) as leader:
        old = await write(leader, 5)
        await asyncio.sleep(200)
        new = await write(leader, 5)
        await asyncio.sleep(99)
        assert not await is_history(leader, 1)
        await asyncio.sleep(20)
        assert await is_history(leader, old - 1)
        assert not await is_history(leader, old)
        await asyncio.sleep(400)
        assert await is_history(leader, new - 1)
        assert leader.metric("compacted_revision") == new
        assert leader.told == []


async def put_events(leader: Leader, numbers: range) -> None:
    for number in numbers:
        event = Event(0.0, "WorkloadScaled", "web", "because", "people")
        await put(leader.store, KEYS.event(500_000 + number // 20, f"{number:020d}"), dump(event))


@in_virtual_time
async def test_the_oldest_events_go_when_they_are_too_many() -> None:
    async with leading(UpkeepTerms(is_active=False, events_kept=100)) as leader:
        await put_events(leader, range(100))
        await asyncio.sleep(30)
        assert len(leader.view.state.events) == 100
        await put_events(leader, range(100, 105))
        leader.is_trusted = False
        await asyncio.sleep(30)
        assert len(leader.view.state.events) == 105
        leader.is_trusted = True
        await asyncio.sleep(30)
        left = sorted(leader.view.state.events)
        assert [left[0], left[-1], len(left)] == [
            f"500000/{15:020d}",
            f"500005/{104:020d}",
            90,
        ]


@in_virtual_time
async def test_nothing_is_compacted_that_need_not_or_may_not_be() -> None:
    for terms, is_trusted in (
        (UpkeepTerms(compaction_seconds=0), True),
        (UpkeepTerms(is_active=False), True),
        (UpkeepTerms(), False),
    ):
        async with leading(terms) as leader:
            leader.is_trusted = is_trusted
            await write(leader, 5)
            await asyncio.sleep(2000)
            assert not await is_history(leader, 1)


@in_virtual_time
async def test_when_room_is_short_history_goes_sooner_and_pages_are_given_back() -> None:
    async with leading(UpkeepTerms(compaction_seconds=300.0)) as leader:
        newest = await write(leader, 85, size=10_000)
        await asyncio.sleep(15)
        assert leader.metric("space_level") == Level.TIGHT
        await asyncio.sleep(90)
        assert await is_history(leader, newest - 1)
        assert not await is_history(leader, newest)
        assert leader.metric("space_level") == Level.ROOMY
        (member,) = await leader.store.members()
        assert member.db_size_bytes < 0.2 * QUOTA_BYTES
        kinds = [kind for kind, _ in leader.told]
        assert kinds == ["EtcdSpaceLow", "EtcdDefragmented", "EtcdSpaceRegained"]


class WastefulStore(MemoryStore):
    """Whose members all have much to give back."""

    async def members(self, *, timeout_seconds: float = 5.0) -> tuple[MemberStatus, ...]:
        return tuple(
            replace(each, db_size_bytes=10**9)
            for each in await super().members(timeout_seconds=timeout_seconds)
        )


@pytest.mark.parametrize(("endpoints", "is_tidied"), [(3, True), (1, False)])
@in_virtual_time
async def test_a_lone_member_stands_still_for_want_of_room_only(
    endpoints: int, is_tidied: bool
) -> None:
    names = tuple(f"memory:{number}" for number in range(endpoints))
    memory = MemoryCluster(virtual_now, random.Random(1), endpoints=names)
    memory.connect("leader")
    store = WastefulStore(memory, memory.link("leader"))
    async with leading(UpkeepTerms(endpoints=endpoints), store=store) as leader:
        await asyncio.sleep(30)
        assert (["EtcdDefragmented"] if is_tidied else []) == [kind for kind, _ in leader.told]


@in_virtual_time
async def test_a_mirror_that_is_compacted_under_goes_on() -> None:
    async with leading(UpkeepTerms(compaction_seconds=60.0)) as leader:
        idle = ClusterView(
            leader.memory.connect("cut"), KEYS, clock=virtual_now, rng=random.Random(3)
        )
        watching = asyncio.create_task(idle.run())
        await idle.synced()
        leader.memory.cut("cut")
        await write(leader, 5)
        await asyncio.sleep(200)
        assert await is_history(leader, 3)
        leader.memory.resume("cut")
        await idle.reached(await revision_of(leader.store))
        watching.cancel()


def real_clock() -> float:
    return asyncio.get_running_loop().time()


async def test_backups_are_taken_at_intervals_and_told_of(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path / "backups", kept=2, wall_clock=lambda: 1e9)
    terms = UpkeepTerms(snapshot_interval_seconds=3600.0)
    async with leading(terms, real_clock, directory) as leader, asyncio.timeout(10):
        while not leader.told:
            await asyncio.sleep(0.01)
        newest = directory.newest()
        assert newest
        assert newest.size_bytes == leader.metric("last_snapshot_bytes")
        assert leader.metric("last_snapshot_timestamp_seconds") == 1e9
        ((kind, reason),) = leader.told
        assert kind == "EtcdBackupUnproven"
        assert "there is no etcd program here" in reason
        assert leader.metric("last_drill_result") == 0


async def test_a_backup_that_fails_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = SnapshotDirectory(tmp_path / "file" / "backups", kept=2, wall_clock=lambda: 1e9)
    async with leading(UpkeepTerms(), real_clock, directory) as leader, asyncio.timeout(10):
        while not leader.told:
            await asyncio.sleep(0.01)
        assert leader.told[0][0] == "EtcdBackupFailed"


@pytest.mark.parametrize(
    ("taken_at", "now", "due"),
    [(None, 50.0, 0.0), (100.0, 130.0, 30.0), (100.0, 500.0, 0.0), (1000.0, 100.0, 60.0)],
)
def test_a_backup_is_due_an_interval_after_the_last(
    taken_at: float | None, now: float, due: float
) -> None:
    newest = None if taken_at is None else Snapshot(Path("any"), 1, taken_at)
    assert seconds_until_due(newest, now, 60.0) == due
