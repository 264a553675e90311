"""The store in memory over time: leases that end, leaders that change, backups, a full disk."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import NoSpace, Unavailable
from store.memory.cluster import EXPIRY_BATCH, MemoryCluster
from store.values import RangeOp
from tests.support.memory import listen, memory_cluster
from tests.support.stores import get, put, revision_of


@in_virtual_time
async def test_leases_end_on_the_clock_by_themselves() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    listener = listen(memory, "client")
    await listener.created()
    await store.grant_lease(7, 10)
    await store.grant_lease(8, 3)
    for lease in (7, 8):
        await put(store, f"/{lease}", lease=lease)
    await listener.events(2)

    for key, when in (("/8", 3.0), ("/7", 10.0)):
        (change,) = await listener.changes(1)
        assert (change.key, change.value) == (key, None)
        assert virtual_now() == pytest.approx(when)


@in_virtual_time
async def test_a_renewed_lease_ends_a_ttl_after_its_last_renewal() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    await store.grant_lease(7, 10)
    await put(store, "/a", lease=7)
    await asyncio.sleep(6.0)
    await store.keep_alive_stream().renew(7)

    await asyncio.sleep(9.5)
    assert await get(store, "/a")
    await asyncio.sleep(1.0)
    assert await get(store, "/a") is None


@in_virtual_time
async def test_many_leases_end_each_by_itself_and_not_all_at_once() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    count = EXPIRY_BATCH + 100
    for lease in range(1, count + 1):
        await store.grant_lease(lease, 10)
        await put(store, f"/{lease}", lease=lease)
    before = await revision_of(store)

    await asyncio.sleep(10.2)
    assert await revision_of(store) == before + EXPIRY_BATCH
    await asyncio.sleep(0.5)
    assert await revision_of(store) == before + count


@in_virtual_time
async def test_another_raft_leader_gives_every_lease_its_full_ttl_again() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    await store.grant_lease(7, 10)
    await asyncio.sleep(9.0)

    memory.change_leader()
    await asyncio.sleep(9.0)

    assert (await store.lease_time_to_live(7)).ttl_seconds == 1
    assert (await store.range(RangeOp("/"))).header.raft_term == 3


@in_virtual_time
async def test_the_write_that_overflows_may_be_refused_and_kept() -> None:
    memory = MemoryCluster(virtual_now, quota_bytes=1000)
    memory.engine.quota.keeps_last_write = True
    store = memory.connect("client")

    with pytest.raises(NoSpace):
        await put(store, "/a", b"x" * 2000)
    assert await get(store, "/a")
    with pytest.raises(NoSpace):
        await put(store, "/b")
    assert await get(store, "/b") is None


@in_virtual_time
async def test_a_restored_store_is_another_cluster_in_the_past() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    await store.grant_lease(7, 10)
    await put(store, "/a", b"kept", lease=7)
    backup = b"".join([chunk async for chunk in store.snapshot()])
    before = (await store.range(RangeOp("/a"))).header
    listener = listen(memory, "client")
    await listener.created()
    await put(store, "/a", b"forgotten")
    await asyncio.sleep(9.0)

    memory.restore(backup)

    await listener.events(1)
    with pytest.raises(Unavailable):
        await listener.response()
    after = (await store.range(RangeOp("/a"))).header
    assert after.cluster_id != before.cluster_id
    assert after.revision == before.revision
    kv = await get(store, "/a")
    assert kv
    assert (kv.value, kv.lease) == (b"kept", 7)
    assert (await store.lease_time_to_live(7)).ttl_seconds == 10
    await asyncio.sleep(10.5)
    assert await get(store, "/a") is None


@in_virtual_time
async def test_a_backup_can_be_restored_twice() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    await put(store, "/a", b"1")
    backup = memory.backup()

    for _ in range(2):
        memory.restore(backup)
        assert await get(store, "/a")
        await put(store, "/a", b"2")
        assert await revision_of(store) == 3
