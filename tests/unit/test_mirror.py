"""Mirrors on a store that is meaner than etcd: they are exact, or say that they cannot be."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import StoreReplaced
from store.memory.cluster import MemoryCluster
from store.memory.meanness import CALM, Meanness
from store.memory.store import MemoryStore
from store.memory.watch import MemoryWatch
from store.mirror import Anomaly, Version
from store.protocol import Store
from store.values import DeleteOp, Op, PutOp, Txn, WatchResponse
from tests.support.mirroring import PREFIX, Fold, listed, new_mirror, running


def cluster(seed: int = 1) -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(seed))


async def write(store: Store, *ops: Op) -> int:
    return (await store.txn(Txn(success=ops))).header.revision


async def put(store: Store, *names: str, value: bytes = b"{}") -> int:
    return await write(store, *(PutOp(PREFIX + name, value) for name in names))


async def delete(store: Store, *names: str) -> int:
    return await write(store, *(DeleteOp(PREFIX + name) for name in names))


@in_virtual_time
async def test_it_delivers_what_is_there_and_then_each_change() -> None:
    memory = cluster()
    user = memory.connect("user")
    created = await put(user, "a", "b")
    await write(user, PutOp("/elsewhere", b"{}"))
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        assert fold.sorted_kvs() == await listed(user)
        revision = await put(user, "a", value=b'{"n":1}')
        await mirror.reached(await delete(user, "b"))

        assert fold.sorted_kvs() == await listed(user)
        assert mirror.versions == {PREFIX + "a": Version(created, revision)}
        assert [batch.is_reset for batch in fold.batches] == [True, False, False]
        assert not mirror.anomalies


@in_virtual_time
async def test_an_empty_store_is_delivered_as_an_empty_first_batch() -> None:
    memory = cluster()
    fold = Fold()

    async with running(new_mirror(memory.connect("mirror"), fold, virtual_now)):
        assert [(batch.changes, batch.is_reset) for batch in fold.batches] == [((), True)]


@in_virtual_time
async def test_a_transaction_is_one_step_even_when_it_comes_in_fragments() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        memory.treat(Meanness(fragment_events=3), "mirror")
        revision = await put(user, *(f"k{n}" for n in range(10)))
        await mirror.reached(revision)

        assert len(fold.batches[-1].changes) == 10
        assert mirror.anomalies == Counter({Anomaly.FRAGMENTS_REASSEMBLED: 1})


@in_virtual_time
async def test_a_watch_that_breaks_between_fragments_delivers_the_revision_once() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        memory.treat(Meanness(fragment_events=3, watch_seconds=(1.0, 1.0)), "mirror")
        revision = await put(user, *(f"k{n}" for n in range(10)))
        await asyncio.sleep(0.5)
        memory.treat(CALM, "mirror")
        memory.break_watches("mirror")
        await mirror.reached(revision)

        assert [len(batch.changes) for batch in fold.batches] == [0, 10]


@in_virtual_time
async def test_pages_are_of_one_revision_though_others_write_meanwhile() -> None:
    memory = cluster()
    user = memory.connect("user")
    revision = await put(user, *(f"k{n}" for n in range(9)))
    before = await listed(user)
    fold = Fold()
    slow = memory.connect("mirror", meanness=Meanness(request_seconds=(1.0, 1.0)))
    mirror = new_mirror(slow, fold, virtual_now, page_size=2)

    async with running(mirror, is_synced=False):
        await asyncio.sleep(2.5)
        await delete(user, "k0", "k8")
        await put(user, "k1", "k7", "new", value=b'{"n":1}')
        await mirror.synced()
        assert (fold.revision, fold.sorted_kvs()) == (revision, before)

        await mirror.until(lambda: PREFIX + "new" in fold.kvs)
        assert fold.sorted_kvs() == await listed(user)


@in_virtual_time
async def test_a_listing_whose_revision_is_compacted_away_begins_again() -> None:
    memory = cluster()
    user = memory.connect("user")
    await put(user, *(f"k{n}" for n in range(9)))
    fold = Fold()
    slow = memory.connect("mirror", meanness=Meanness(request_seconds=(1.0, 1.0)))
    mirror = new_mirror(slow, fold, virtual_now, page_size=2)

    async with running(mirror, is_synced=False):
        await asyncio.sleep(2.5)
        await user.compact(await delete(user, "k3"))
        await mirror.synced()

        assert fold.sorted_kvs() == await listed(user)
        assert mirror.anomalies[Anomaly.COMPACTED] == 1


@in_virtual_time
async def test_a_broken_watch_resumes_where_it_was() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        for n in range(20):
            await put(user, f"k{n}")
            memory.break_watches("mirror")
            await put(user, f"m{n}")
        await mirror.until(lambda: len(fold.kvs) == 40)

        changed = [change.key for batch in fold.batches for change in batch.changes]
        assert len(changed) == len(set(changed)) == 40
        assert set(mirror.anomalies) == {Anomaly.WATCH_ERROR}


@in_virtual_time
async def test_after_compaction_behind_its_back_it_delivers_the_difference() -> None:
    memory = cluster()
    user = memory.connect("user")
    await put(user, "gone", "kept", "reborn")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        memory.pause("mirror")
        memory.break_watches("mirror")
        await delete(user, "gone", "reborn")
        await put(user, "reborn", "new")
        await user.compact(await put(user, "kept", value=b'{"n":1}'))
        memory.resume("mirror")
        await mirror.until(lambda: len(fold.batches) == 2)

        assert fold.batches[-1].is_reset
        assert fold.batches[-1].changes[0] == (PREFIX + "gone", None)
        assert fold.sorted_kvs() == await listed(user)
        assert mirror.anomalies[Anomaly.COMPACTED] == mirror.anomalies[Anomaly.RELIST] == 1


@in_virtual_time
async def test_events_that_come_again_are_dropped() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        memory.treat(Meanness(watch_repeated=1.0), "mirror")
        for n in range(20):
            await put(user, f"k{n}")
        await mirror.reached(await put(user, "last"))
        await asyncio.sleep(1.0)

        assert sum(len(batch.changes) for batch in fold.batches) == 21
        assert set(mirror.anomalies) == {Anomaly.DUPLICATE_EVENT}


class ForgetfulStore(MemoryStore):
    """A store with a bug that etcd has had: its watches lose some responses."""

    def __init__(self, memory: MemoryCluster, client: str) -> None:
        memory.connect(client)
        super().__init__(memory, memory.link(client))
        self.lost = 0

    def watch(
        self, key: str, *, range_end: str | None = None, start_revision: int = 0
    ) -> MemoryWatch:
        store = self

        class ForgetfulWatch(MemoryWatch):
            async def __anext__(self) -> WatchResponse:
                response = await super().__anext__()
                while response.events and store.lost:
                    store.lost -= 1
                    response = await super().__anext__()
                return response

        memory, link = self._cluster, self._link
        return ForgetfulWatch(memory.hub, link, key, range_end, start_revision)


@in_virtual_time
async def test_what_does_not_follow_from_what_is_known_is_healed_by_listing() -> None:
    memory = cluster()
    user, forgetful = memory.connect("user"), ForgetfulStore(memory, "mirror")
    fold = Fold()
    mirror = new_mirror(forgetful, fold, virtual_now)

    async with running(mirror):
        forgetful.lost = 2
        await put(user, "a", "b")
        await put(user, "a")
        await put(user, "b")
        await mirror.until(lambda: len(fold.batches) == 3)

        assert fold.batches[-1].is_reset
        assert fold.sorted_kvs() == await listed(user)
        assert mirror.anomalies == Counter({Anomaly.GAP: 1, Anomaly.RELIST: 1})


@in_virtual_time
async def test_a_progress_notification_before_its_events_is_healed_by_listing() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        await put(user, "a")
        await mirror.until(lambda: "/orc/a" in fold.kvs)
        memory.treat(Meanness(watch_seconds=(1.0, 1.0)), "mirror")
        await put(user, "b")
        (watch,) = memory.link("mirror").watches
        early = WatchResponse(memory.engine.header())
        watch._received.put_nowait(early)
        await mirror.until(lambda: "/orc/b" in fold.kvs)

        assert mirror.anomalies == Counter({Anomaly.OLD_EVENT: 1, Anomaly.RELIST: 1})


@in_virtual_time
async def test_another_cluster_behind_the_same_endpoints_ends_it() -> None:
    memory = cluster()
    user = memory.connect("user")
    await put(user, "a")
    backup = memory.backup()
    mirror = new_mirror(memory.connect("mirror"), Fold(), virtual_now)

    task = asyncio.create_task(mirror.run())
    await mirror.synced()
    await mirror.reached(await put(user, "b"))
    memory.restore(backup)
    with pytest.raises(StoreReplaced, match=r"belongs to etcd cluster .* start this process again"):
        await task
    assert mirror.anomalies[Anomaly.CLUSTER_CHANGED] == 1
    assert "/orc/b" in mirror.versions, "nothing was taken over from the impostor"


@pytest.mark.parametrize("loss", ["revision", "raft_term"])
@in_virtual_time
async def test_a_restored_store_that_keeps_its_cluster_id_is_found_out(loss: str) -> None:
    memory = cluster()
    user = memory.connect("user")
    backup = memory.backup()
    memory.change_leader()
    await put(user, "a")
    mirror = new_mirror(memory.connect("mirror"), Fold(), virtual_now)

    task = asyncio.create_task(mirror.run())
    await mirror.synced()
    cluster_id, term = memory.engine.cluster_id, memory.engine.raft_term
    memory.restore(backup)
    memory.engine.cluster_id = cluster_id
    if loss == "revision":
        memory.engine.raft_term = term
    else:
        for _ in range(5):
            await put(user, "b")
    with pytest.raises(StoreReplaced, match=r"wiped or restored .* start this process again"):
        await task
    assert mirror.anomalies[Anomaly.REVISION_WENT_BACK] == 3


@in_virtual_time
async def test_reads_from_the_past_convict_nobody() -> None:
    memory = cluster()
    user, forgetful = memory.connect("user"), ForgetfulStore(memory, "mirror")
    await put(user, *(f"k{n}" for n in range(9)))
    fold = Fold()
    mirror = new_mirror(forgetful, fold, virtual_now)

    async with running(mirror):
        memory.treat(Meanness(stale_read=1.0), "mirror")
        forgetful.lost = 1
        await put(user, "a")
        await put(user, "a")
        await asyncio.sleep(0.3)
        assert mirror.anomalies[Anomaly.REVISION_WENT_BACK] > 0
        memory.treat(CALM, "mirror")
        await mirror.until(lambda: mirror.anomalies[Anomaly.RELIST] == 1)

        assert fold.sorted_kvs() == await listed(user)


@in_virtual_time
async def test_a_silent_watch_is_given_up_and_progress_is_not_silence() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)
    memory.notify_progress_every(10.0)

    async with running(mirror):
        await asyncio.sleep(300.0)
        assert not mirror.anomalies
        assert mirror.last_heard is not None
        assert mirror.last_heard >= 290.0

        memory.notify_progress_every(0.0)
        await asyncio.sleep(60.0)
        assert mirror.anomalies[Anomaly.SILENCE] == 2
        await mirror.reached(await put(user, "a"))
        assert fold.sorted_kvs() == await listed(user)


@in_virtual_time
async def test_progress_moves_the_position_past_what_others_write() -> None:
    memory = cluster()
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)
    memory.notify_progress_every(10.0)

    async with running(mirror):
        revision = await write(memory.connect("user"), PutOp("/elsewhere", b"{}"))
        assert mirror.revision < revision
        await mirror.reached(revision)
        assert len(fold.batches) == 1


@in_virtual_time
async def test_waits_end_when_they_are_true_and_leave_nothing_when_cancelled() -> None:
    memory = cluster()
    user = memory.connect("user")
    mirror = new_mirror(memory.connect("mirror"), Fold(), virtual_now)

    async with running(mirror):
        await mirror.until(lambda: True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await mirror.until(lambda: "/orc/b" in mirror.versions)
        waits = [mirror.until(lambda: "/orc/b" in mirror.versions) for _ in range(3)]
        async with asyncio.timeout(5.0):
            _, revision = await asyncio.gather(
                asyncio.gather(*waits), asyncio.create_task(put(user, "a", "b"))
            )
        await mirror.reached(revision)


@in_virtual_time
async def test_a_store_that_is_away_for_long_is_asked_at_a_calm_pace() -> None:
    memory = cluster()
    user = memory.connect("user")
    fold = Fold()
    mirror = new_mirror(memory.connect("mirror"), fold, virtual_now)

    async with running(mirror):
        memory.treat(Meanness(refused=1.0), "mirror")
        memory.break_watches("mirror")
        await asyncio.sleep(60.0)
        assert 60 <= mirror.anomalies[Anomaly.WATCH_ERROR] <= 140
        revision = await put(user, "a")
        memory.treat(CALM, "mirror")
        await mirror.reached(revision)
        assert fold.sorted_kvs() == await listed(user)
