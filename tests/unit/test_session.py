"""Sessions: how long one may believe in a lease, and what ends it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import LeaseExists, NoSpace, OutcomeUnknown, SessionLost, Unavailable
from store.memory.cluster import MemoryCluster
from store.memory.meanness import LOST_REPLY, LOST_REQUEST, REFUSED, Meanness, Trip, late
from store.patience import Patience
from store.session import Session

TTL_SECONDS = 6


def cluster() -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(1))


def patience(limit_seconds: float = 60.0) -> Patience:
    return Patience(virtual_now, random.Random(2), limit_seconds)


def session_on(memory: MemoryCluster, *, lease_id: int | None = None) -> Session:
    return Session(
        memory.connect("client"),
        ttl_seconds=TTL_SECONDS,
        clock=virtual_now,
        rng=random.Random(3),
        lease_id=lease_id,
    )


@asynccontextmanager
async def kept_alive(session: Session) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(session.keep_alive())
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def lease_is_there(memory: MemoryCluster, session: Session) -> bool:
    observer = memory.connect("observer")
    return (await observer.lease_time_to_live(session.lease_id)).ttl_seconds >= 0


@in_virtual_time
async def test_belief_counts_from_when_the_grant_was_sent() -> None:
    memory = cluster()
    session = session_on(memory)
    assert not session.is_trusted()
    memory.treat(Meanness(request_seconds=(0.5, 0.5), reply_seconds=(0.5, 0.5)), "client")

    await session.open(patience())

    assert session.remaining_seconds() == pytest.approx(TTL_SECONDS - 1.0)
    assert session.is_trusted()
    await asyncio.sleep(TTL_SECONDS * 2 / 3 - 1.0)
    assert not session.is_trusted()
    assert session.remaining_seconds() > 0


@in_virtual_time
async def test_a_session_is_kept_alive_and_trusted_all_along() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())

    async with kept_alive(session):
        for _ in range(100):
            await asyncio.sleep(1.0)
            assert session.is_trusted()
    assert await lease_is_there(memory, session)


@in_virtual_time
async def test_the_longest_gap_between_renewals_is_remembered() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())

    async with kept_alive(session):
        await asyncio.sleep(20.0)
        assert 0.0 < session.longest_gap_seconds <= TTL_SECONDS / 3
        memory.cut("client")
        await asyncio.sleep(TTL_SECONDS / 2)
        memory.resume("client")
        await asyncio.sleep(20.0)
        longest = session.longest_gap_seconds
        assert TTL_SECONDS / 2 < longest < TTL_SECONDS
        await asyncio.sleep(20.0)
        assert session.longest_gap_seconds == longest


@in_virtual_time
async def test_a_lease_that_the_store_has_ended_is_lost_at_the_next_renewal() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())
    await memory.connect("observer").revoke_lease(session.lease_id)

    with pytest.raises(SessionLost, match="has ended"):
        await session.keep_alive()
    assert virtual_now() <= TTL_SECONDS / 3
    assert session.remaining_seconds() == 0


@in_virtual_time
async def test_an_unreachable_store_costs_trust_at_two_thirds_and_the_session_at_the_ttl() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())

    async with kept_alive(session) as keeping:
        await asyncio.sleep(1.0)
        memory.cut("client")
        await asyncio.sleep(TTL_SECONDS * 2 / 3 - 1.1)
        assert session.is_trusted()
        await asyncio.sleep(0.2)
        assert not session.is_trusted()
        assert not keeping.done()
        await asyncio.wait([keeping])
        assert isinstance(keeping.exception(), SessionLost)
    assert virtual_now() == pytest.approx(TTL_SECONDS)


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_belief_ends_no_later_than_the_lease_whatever_gets_lost(seed: int) -> None:
    mean = Meanness(
        request_seconds=(0.0, 1.0), reply_seconds=(0.0, 1.5), lost_reply=0.1, lost_request=0.1
    )
    memory = cluster()
    session = Session(
        memory.connect("client"),
        ttl_seconds=TTL_SECONDS,
        clock=virtual_now,
        rng=random.Random(seed),
    )
    await session.open(patience())
    memory.treat(mean, "client")
    async with kept_alive(session) as keeping:
        while not keeping.done() and virtual_now() < 30.0:
            await asyncio.sleep(0.1)
            lease = memory.engine.leases.find(session.lease_id)
            lasts_seconds = lease.expires_at - virtual_now() if lease else 0.0
            assert session.remaining_seconds() <= lasts_seconds + 1e-6


@in_virtual_time
async def test_a_renewal_that_is_not_answered_is_sent_again_in_time() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())

    async with kept_alive(session) as keeping:
        memory.treat(Meanness(lost_reply=1.0, cut_seconds=(60.0, 60.0)), "client")
        await asyncio.sleep(TTL_SECONDS / 2)
        memory.treat(Meanness(), "client")
        await asyncio.sleep(TTL_SECONDS * 0.2)
        assert session.is_trusted()
        await asyncio.sleep(TTL_SECONDS * 5)
        assert not keeping.done()


@pytest.mark.parametrize("trip", [REFUSED, LOST_REQUEST, LOST_REPLY, late(0.01)])
@in_virtual_time
async def test_granting_is_repeated_until_the_lease_is_there(trip: Trip) -> None:
    memory = cluster()
    session = session_on(memory)
    memory.link("client").luck.arrange(trip, trip)

    await session.open(patience())

    assert session.is_trusted()
    assert await lease_is_there(memory, session)


@in_virtual_time
async def test_belief_in_a_grant_of_unknown_outcome_counts_from_the_first_try() -> None:
    memory = cluster()
    session = session_on(memory)
    memory.link("client").luck.arrange(LOST_REPLY)
    eager = Patience(
        virtual_now, random.Random(2), 60.0, first_wait_seconds=2.0, max_wait_seconds=2
    )

    await session.open(eager)

    assert 1.0 <= virtual_now() <= 2.0
    assert session.remaining_seconds() == pytest.approx(TTL_SECONDS - virtual_now())


@in_virtual_time
async def test_an_id_that_is_taken_is_not_ours() -> None:
    memory = cluster()
    await memory.connect("other").grant_lease(77, 60)
    session = session_on(memory, lease_id=77)

    with pytest.raises(LeaseExists):
        await session.open(patience())
    assert not session.is_trusted()


@in_virtual_time
async def test_opening_gives_up_when_patience_ends() -> None:
    memory = cluster()
    session = session_on(memory)
    memory.treat(Meanness(refused=1.0), "client")
    with pytest.raises(Unavailable):
        await session.open(patience(limit_seconds=5.0))

    memory.treat(Meanness(lost_reply=1.0), "client")
    with pytest.raises(OutcomeUnknown):
        await session.open(patience(limit_seconds=5.0))


@in_virtual_time
async def test_a_store_without_space_refuses_a_session_at_once() -> None:
    memory = cluster()
    session = session_on(memory)
    memory.engine.quota.raise_alarm()

    with pytest.raises(NoSpace):
        await session.open(patience())


@in_virtual_time
async def test_closing_gives_the_lease_back_and_ends_belief() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())

    await session.close()

    assert not await lease_is_there(memory, session)
    assert not session.is_trusted()
    with pytest.raises(SessionLost):
        await session.keep_alive()


@in_virtual_time
async def test_closing_does_not_wait_long_for_a_store_that_is_gone() -> None:
    memory = cluster()
    session = session_on(memory)
    await session.open(patience())
    memory.cut("client")

    await session.close(timeout_seconds=1.0)

    assert virtual_now() <= 1.5
    assert not session.is_trusted()


@in_virtual_time
async def test_ids_are_drawn_from_the_luck_that_is_injected() -> None:
    store = cluster().connect("client")

    def lease_id(seed: int) -> int:
        rng = random.Random(seed)
        return Session(store, ttl_seconds=5, clock=virtual_now, rng=rng).lease_id

    assert lease_id(1) == lease_id(1) != lease_id(2)
    assert 0 < lease_id(1) < 2**63
