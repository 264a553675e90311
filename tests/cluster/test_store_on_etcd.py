"""Session, election, mirror and maintenance on real etcds, with what real etcds do to one."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

from store.election import Election
from store.errors import NoSpace, OutcomeUnknown, StoreReplaced, Unavailable, UnfitVersion
from store.etcd import EtcdStore
from store.maintenance import check_versions, recover_space, snapshot_to
from store.mirror import Anomaly, Mirror, Version
from store.patience import Patience
from store.protocol import Store
from store.session import Session
from store.values import DeleteOp, Op, PutOp, Txn
from tests.support.etcd import EtcdCluster, etcd_of
from tests.support.mirroring import Fold, listed, new_mirror, running

VALUE = b'{"filler":"%s"}' % (b"x" * 300)
QUOTA_BYTES = 8 * 1024 * 1024


def new_store(cluster: EtcdCluster) -> EtcdStore:
    return EtcdStore(cluster.endpoints, clock=time.monotonic, rng=random.Random(1))


@pytest.fixture(params=["3.4", "3.5"])
def own_etcd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdCluster]:
    """One small member for one test, to compact, fill and wipe."""
    binary = etcd_of(str(request.param))
    quota = f"--quota-backend-bytes={QUOTA_BYTES}"
    with EtcdCluster(binary, 1, tmp_path / "etcd", extra_args=[quota]) as cluster:
        yield cluster


@pytest.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    store = new_store(etcd)
    yield store
    await store.close()


@pytest.fixture
async def own_store(own_etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    store = new_store(own_etcd)
    yield store
    await store.close()


async def put_many(store: Store, prefix: str, keys: int, *, value: bytes = VALUE) -> int:
    """`keys` keys in transactions of a hundred; the revision of the last."""
    revision = 0
    for start in range(0, keys, 100):
        ops = tuple(PutOp(f"{prefix}{n:06}", value) for n in range(start, start + 100))
        revision = (await store.txn(Txn(success=ops))).header.revision
    return revision


async def require_equal(mirror: Mirror, fold: Fold, store: Store, prefix: str) -> None:
    kvs = await listed(store, prefix)
    async with asyncio.timeout(30):
        await mirror.until(lambda: len(mirror.versions) == len(kvs))
        await mirror.reached(max((kv.mod_revision for kv in kvs), default=0))
    assert fold.sorted_kvs() == kvs
    assert mirror.versions == {kv.key: Version(kv.create_revision, kv.mod_revision) for kv in kvs}


async def test_a_long_catch_up_in_fragments_is_exact(store: EtcdStore, prefix: str) -> None:
    fold = Fold()
    mirror = new_mirror(store, fold, time.monotonic, prefix=prefix)
    async with running(mirror):
        assert fold.kvs == {}

    revision = await put_many(store, prefix, 20_000)
    async with running(mirror):
        await mirror.reached(revision)
        await require_equal(mirror, fold, store, prefix)

    assert sum(len(batch.changes) for batch in fold.batches) == 20_000
    assert all(len(batch.changes) % 100 == 0 for batch in fold.batches)
    assert set(mirror.anomalies) == {Anomaly.FRAGMENTS_REASSEMBLED}


async def test_a_listing_in_pages_is_exact(store: EtcdStore, prefix: str) -> None:
    await put_many(store, prefix, 2_000)
    fold = Fold()
    mirror = new_mirror(store, fold, time.monotonic, prefix=prefix, page_size=300)
    async with running(mirror):
        await require_equal(mirror, fold, store, prefix)
        assert len(fold.batches) == 1


async def test_compaction_while_the_watcher_is_away(own_store: EtcdStore, prefix: str) -> None:
    await put_many(own_store, prefix, 500)
    fold = Fold()
    mirror = new_mirror(own_store, fold, time.monotonic, prefix=prefix)
    async with running(mirror):
        pass

    gone = tuple(DeleteOp(f"{prefix}{n:06}") for n in range(0, 100, 2))
    await own_store.txn(Txn(success=gone))
    revision = await put_many(own_store, prefix, 200, value=b'{"changed":true}')
    await own_store.compact(revision)

    async with running(mirror):
        await mirror.reached(revision)
        await require_equal(mirror, fold, own_store, prefix)
    assert mirror.anomalies[Anomaly.COMPACTED] == mirror.anomalies[Anomaly.RELIST] == 1


@pytest.mark.slow
async def test_a_mirror_outlives_the_members_it_watches(
    etcd_cluster: EtcdCluster, prefix: str
) -> None:
    store, writer = new_store(etcd_cluster), new_store(etcd_cluster)
    rng = random.Random(1)
    fold = Fold()
    mirror = new_mirror(store, fold, time.monotonic, prefix=prefix, page_size=7)
    async with running(mirror):
        for _ in range(3):
            await write_at_random(writer, prefix, rng, transactions=10)
            watched = etcd_cluster.member_at(store.current_endpoint)
            watched.kill()
            await asyncio.to_thread(watched.start)
        await write_at_random(writer, prefix, rng, transactions=10)
        await require_equal(mirror, fold, store, prefix)
        assert mirror.anomalies[Anomaly.WATCH_ERROR] > 0
    await store.close()
    await writer.close()


async def write_at_random(
    store: Store, prefix: str, rng: random.Random, *, transactions: int
) -> None:
    """Each is repeated until it is done: it says what shall be, so it may be done twice."""
    patience = Patience(time.monotonic, rng, limit_seconds=30.0)
    for _ in range(transactions):
        ops: tuple[Op, ...] = tuple(
            DeleteOp(f"{prefix}{n}") if rng.random() < 0.4 else PutOp(f"{prefix}{n}", VALUE)
            for n in rng.sample(range(20), rng.choice([1, 2, 5]))
        )
        async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
            with attempt:
                await store.txn(Txn(success=ops))


@pytest.mark.slow
async def test_a_wiped_store_is_found_out(own_etcd: EtcdCluster, prefix: str) -> None:
    store = new_store(own_etcd)
    await put_many(store, prefix, 1_000)
    mirror = new_mirror(store, Fold(), time.monotonic, prefix=prefix)
    task = asyncio.create_task(mirror.run())
    await mirror.synced()
    (member,) = own_etcd.members

    await asyncio.to_thread(member.stop)
    member.wipe()
    await asyncio.to_thread(member.start)

    async with asyncio.timeout(60):
        with pytest.raises(StoreReplaced):
            await task
    assert len(mirror.versions) == 1_000
    await store.close()


class Candidate:
    """A replica on a client of its own."""

    def __init__(self, cluster: EtcdCluster, prefix: str, name: str, ttl_seconds: int) -> None:
        rng = random.Random(name + prefix)
        self.store = new_store(cluster)
        self.session = Session(self.store, ttl_seconds=ttl_seconds, clock=time.monotonic, rng=rng)
        self.mirror = new_mirror(self.store, Fold(), time.monotonic, prefix=prefix)
        self.election = Election(
            self.store,
            self.mirror,
            f"{prefix}leader",
            self.session,
            b'{"replica":"%s"}' % name.encode(),
            clock=time.monotonic,
            rng=rng,
        )


@asynccontextmanager
async def candidate(
    cluster: EtcdCluster, prefix: str, name: str, *, ttl_seconds: int
) -> AsyncIterator[Candidate]:
    """Runs until it is left, or dies: then nothing is revoked."""
    me = Candidate(cluster, prefix, name, ttl_seconds)
    await me.session.open(Patience(time.monotonic, random.Random(1), limit_seconds=10.0))
    async with running(me.mirror):
        keeping = asyncio.create_task(me.session.keep_alive())
        yield me
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
    await me.store.close()


async def test_after_a_leaders_death_the_next_takes_over_when_its_lease_ends(
    etcd: EtcdCluster, prefix: str
) -> None:
    async with candidate(etcd, prefix, "b", ttl_seconds=2) as b:
        async with candidate(etcd, prefix, "a", ttl_seconds=2) as a:
            first = await a.election.campaign()
            waiting = asyncio.create_task(b.election.campaign())
            await b.mirror.reached(first.epoch)
        assert not waiting.done()
        async with asyncio.timeout(30):
            second = await waiting
        assert second.epoch > first.epoch
        assert b.session.is_trusted()


async def test_after_a_leaders_resignation_nobody_waits_for_its_lease(
    etcd: EtcdCluster, prefix: str
) -> None:
    async with (
        candidate(etcd, prefix, "a", ttl_seconds=300) as a,
        candidate(etcd, prefix, "b", ttl_seconds=300) as b,
    ):
        leader, other = a, b
        epochs = []
        for _ in range(5):
            leadership = await leader.election.campaign()
            epochs.append(leadership.epoch)
            waiting = asyncio.create_task(other.election.campaign())
            await other.mirror.reached(leadership.epoch)
            await leader.election.resign(leadership)
            async with asyncio.timeout(10):
                leadership = await waiting
            epochs.append(leadership.epoch)
            await other.election.resign(leadership)
            leader, other = other, leader
        assert epochs == sorted(set(epochs))
        await a.session.close()
        await b.session.close()


async def test_a_closed_session_takes_its_keys_with_it(store: EtcdStore, prefix: str) -> None:
    session = Session(store, ttl_seconds=300, clock=time.monotonic, rng=random.Random(prefix))
    await session.open(Patience(time.monotonic, random.Random(1), limit_seconds=10.0))
    await store.txn(Txn(success=(PutOp(f"{prefix}me", b"{}", session.lease_id),)))

    await session.close()
    assert await listed(store, prefix) == ()


async def test_a_full_etcd_is_recovered_without_lease_or_leader(
    own_store: EtcdStore, prefix: str
) -> None:
    with pytest.raises(NoSpace):
        await fill(own_store, prefix)
    with pytest.raises(NoSpace):
        await own_store.grant_lease(7, 60)

    recovery = await recover_space(own_store, print)

    assert recovery is not None
    assert recovery.freed_bytes > 0
    assert await own_store.alarms() == ()
    await own_store.grant_lease(7, 60)
    await own_store.txn(Txn(success=(PutOp(f"{prefix}key", b"{}", lease=7),)))


async def fill(store: Store, prefix: str) -> NoReturn:
    while True:
        await store.txn(Txn(success=(PutOp(f"{prefix}key", b"x" * 500_000),)))


async def test_what_is_installed_here_is_warned_of_or_refused(
    etcd: EtcdCluster, store: EtcdStore
) -> None:
    (warning,) = await check_versions(store, development=True)
    assert f"etcd {etcd.version}." in warning
    if etcd.version == "3.5":
        with pytest.raises(UnfitVersion):
            await check_versions(store, development=False)


async def test_a_backup_holds_what_etcd_vouches_for(
    own_store: EtcdStore, prefix: str, tmp_path: Path
) -> None:
    await put_many(own_store, prefix, 1_000)
    path = tmp_path / "backup.db"

    size = await snapshot_to(own_store, path)

    content = path.read_bytes()
    assert len(content) == size
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
