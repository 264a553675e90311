"""What every `Store` promises about leases. Few of these wait: the shortest TTL is 2 seconds."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from store.errors import Invalid, LeaseExists, LeaseNotFound, Unavailable
from store.protocol import Store
from store.values import LeaseKeepAlive, LeaseTimeToLive, PutOp, RangeOp, prefix_end
from tests.support.stores import Listener, delete, get, keys_of, put, revision_of, send


@pytest.fixture
async def lease_id(store: Store) -> AsyncIterator[int]:
    """Unlike every other test's, as real stores outlive a test. This one and the next are gone
    afterwards: keys that went with them later would make revisions in other tests."""
    drawn = random.SystemRandom().randrange(1, 2**62)
    yield drawn
    for each in (drawn, drawn + 1):
        with suppress(LeaseNotFound):
            await store.revoke_lease(each)


async def test_the_client_may_choose_the_id(store: Store, lease_id: int) -> None:
    grant = await store.grant_lease(lease_id, 60)

    assert (grant.lease_id, grant.ttl_seconds) == (lease_id, 60)
    with pytest.raises(LeaseExists):
        await store.grant_lease(lease_id, 60)


async def test_id_0_lets_the_store_choose(store: Store) -> None:
    one, other = await store.grant_lease(0, 60), await store.grant_lease(0, 60)

    assert 0 != one.lease_id != other.lease_id != 0


async def test_no_lease_is_shorter_than_two_seconds(store: Store, lease_id: int) -> None:
    assert (await store.grant_lease(lease_id, 1)).ttl_seconds == 2


async def test_a_lease_cannot_last_for_ever(store: Store, lease_id: int) -> None:
    with pytest.raises(Invalid):
        await store.grant_lease(lease_id, 9_000_000_001)


async def test_a_lease_tells_its_time_and_its_keys(
    store: Store, prefix: str, lease_id: int
) -> None:
    await store.grant_lease(lease_id, 60)
    for name in "ba":
        await put(store, prefix + name, lease=lease_id)

    bare = await store.lease_time_to_live(lease_id)
    full = await store.lease_time_to_live(lease_id, keys=True)

    assert 50 < bare.ttl_seconds <= 60
    assert (bare.granted_ttl_seconds, bare.keys) == (60, ())
    assert sorted(full.keys) == [prefix + "a", prefix + "b"]


async def test_an_unknown_lease_has_no_time(store: Store, lease_id: int) -> None:
    assert await store.lease_time_to_live(lease_id) == LeaseTimeToLive(lease_id, -1, 0)
    with pytest.raises(LeaseNotFound):
        await store.revoke_lease(lease_id)


async def test_a_key_shows_its_lease_until_it_is_put_without(
    store: Store, prefix: str, lease_id: int
) -> None:
    await store.grant_lease(lease_id, 60)
    await put(store, prefix + "a", lease=lease_id)
    leased = await get(store, prefix + "a")
    await put(store, prefix + "a")
    free = await get(store, prefix + "a")
    await store.revoke_lease(lease_id)

    assert leased
    assert free
    assert (leased.lease, free.lease) == (lease_id, 0)
    assert await keys_of(store, prefix) == ["a"]


async def test_a_key_goes_with_the_lease_it_was_put_on_last(
    store: Store, prefix: str, lease_id: int
) -> None:
    await store.grant_lease(lease_id, 60)
    await store.grant_lease(lease_id + 1, 60)
    await put(store, prefix + "a", lease=lease_id)
    await put(store, prefix + "a", lease=lease_id + 1)

    await store.revoke_lease(lease_id)
    assert await keys_of(store, prefix) == ["a"]
    await store.revoke_lease(lease_id + 1)
    assert await keys_of(store, prefix) == []


async def test_a_key_that_was_deleted_is_no_longer_the_leases(
    store: Store, prefix: str, lease_id: int
) -> None:
    await store.grant_lease(lease_id, 60)
    await put(store, prefix + "a", lease=lease_id)
    await delete(store, prefix + "a")
    await put(store, prefix + "a")

    await store.revoke_lease(lease_id)

    assert await keys_of(store, prefix) == ["a"]


async def test_revoking_deletes_all_keys_in_one_revision(
    store: Store, prefix: str, lease_id: int
) -> None:
    await store.grant_lease(lease_id, 60)
    await send(store, *(PutOp(prefix + name, b"", lease_id) for name in "cab"))
    before = await put(store, prefix + "free")
    listener = Listener(
        store.watch(prefix, range_end=prefix_end(prefix), start_revision=before + 1)
    )

    await store.revoke_lease(lease_id)

    assert await revision_of(store) == before + 1
    changes = await listener.changes(3)
    assert [change.key.removeprefix(prefix) for change in changes] == ["a", "b", "c"]
    assert {(change.value, change.revision) for change in changes} == {(None, before + 1)}


async def test_revoking_an_idle_lease_makes_no_revision(store: Store, lease_id: int) -> None:
    await store.grant_lease(lease_id, 60)
    before = await revision_of(store)

    await store.revoke_lease(lease_id)

    assert await revision_of(store) == before


async def test_a_revoked_id_may_be_granted_again(store: Store, lease_id: int) -> None:
    await store.grant_lease(lease_id, 60)
    await store.revoke_lease(lease_id)

    assert (await store.grant_lease(lease_id, 30)).ttl_seconds == 30


async def test_renewals_answer_with_the_ttl_or_with_0(store: Store, lease_id: int) -> None:
    await store.grant_lease(lease_id, 60)
    stream = store.keep_alive_stream()

    assert await stream.renew(lease_id) == LeaseKeepAlive(lease_id, 60)
    assert await stream.renew(lease_id + 1) == LeaseKeepAlive(lease_id + 1, 0)
    assert await stream.renew(lease_id) == LeaseKeepAlive(lease_id, 60)
    await stream.close()
    with pytest.raises(Unavailable):
        await stream.renew(lease_id)


async def test_a_lease_that_is_not_renewed_takes_its_keys_along(
    store: Store, prefix: str, lease_id: int
) -> None:
    """Its neighbour, renewed meanwhile, stays."""
    granted = time.monotonic()
    for offset in (0, 1):
        await store.grant_lease(lease_id + offset, 2)
        await put(store, f"{prefix}{offset}", lease=lease_id + offset)
    listener = Listener(store.watch(prefix, range_end=prefix_end(prefix)))
    await listener.created()
    stream = store.keep_alive_stream()

    while await get(store, prefix + "0"):
        assert (await stream.renew(lease_id + 1)).ttl_seconds == 2
        assert time.monotonic() < granted + 15
    (change,) = await listener.changes(1)

    assert time.monotonic() >= granted + 2
    assert (change.key, change.value) == (prefix + "0", None)
    assert (await stream.renew(lease_id)).ttl_seconds == 0
    assert (await store.lease_time_to_live(lease_id)).ttl_seconds == -1
    assert await keys_of(store, prefix) == ["1"]
    assert (await store.range(RangeOp(prefix + "0"))).header.revision >= change.revision
    await stream.close()
