"""Elections in which candidates know that the leader has died, or believe so."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.commit import commit
from store.errors import SessionLost
from store.memory.meanness import LOST_REPLY, REFUSED, Trip, late
from store.transactions import FenceLost, Put, Transaction
from store.values import KeyValue, PutOp, Txn
from tests.support.candidates import KEY, TTL_SECONDS, candidate, cluster, holder, patience
from tests.support.mirroring import PREFIX


class DeathKnell:
    """Tells all candidates that whoever holds the key is dead, one second after they ask."""

    def __init__(self) -> None:
        self.asked_about: list[int] = []

    async def __call__(self, holder: KeyValue) -> bool:
        self.asked_about.append(holder.lease)
        await asyncio.sleep(1.0)
        return True


@in_virtual_time
async def test_a_leader_that_is_known_to_be_dead_is_not_waited_for() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b", is_dead=DeathKnell()) as b:
        await a.election.campaign()
        died_at = virtual_now()
        second = await b.election.campaign()

        assert virtual_now() - died_at < 1.1
        assert await holder(memory) == ("b", second.epoch)


@in_virtual_time
async def test_of_several_who_bury_the_dead_one_leads_and_is_left_alone() -> None:
    memory = cluster()
    knell = DeathKnell()
    async with (
        candidate(memory, "a") as a,
        candidate(memory, "b", is_dead=knell) as b,
        candidate(memory, "c", is_dead=knell) as c,
    ):
        await a.election.campaign()
        campaigns = [asyncio.create_task(each.election.campaign()) for each in (b, c)]
        (won,), (waiting,) = await asyncio.wait(campaigns, return_when=asyncio.FIRST_COMPLETED)
        leader, epoch = await holder(memory)
        await asyncio.sleep(0.5)

        assert won.result().epoch == epoch
        assert await holder(memory) == (leader, epoch)
        assert knell.asked_about[:2] == [a.session.lease_id] * 2
        waiting.cancel()


@in_virtual_time
async def test_a_leader_that_was_only_taken_for_dead_writes_nothing_more_and_learns_of_it() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b", is_dead=DeathKnell()) as b:
        first = await a.election.campaign()
        keeping = asyncio.create_task(a.session.keep_alive())
        await b.election.campaign()

        put = Put(PREFIX + "job", b"{}", base=0)
        outcome = await commit(memory.connect("a"), Transaction((put,), "op1", first), patience())
        assert isinstance(outcome, FenceLost)
        with pytest.raises(SessionLost, match="was revoked"):
            await keeping


@in_virtual_time
async def test_a_key_that_was_taken_off_its_lease_by_hand_has_nothing_to_be_ended() -> None:
    memory = cluster()
    knell = DeathKnell()
    async with candidate(memory, "a") as a, candidate(memory, "b", is_dead=knell) as b:
        await a.election.campaign()
        person = memory.connect("person")
        await person.txn(Txn(success=(PutOp(KEY, b'{"replica":"a"}'),)))
        waiting = asyncio.create_task(b.election.campaign())
        await asyncio.sleep(3.0)
        assert not waiting.done()
        assert knell.asked_about == []
        waiting.cancel()


@pytest.mark.parametrize("trip", [REFUSED, LOST_REPLY, late(0.05), late(3.0)])
@in_virtual_time
async def test_the_dead_are_buried_though_an_answer_was_lost(trip: Trip) -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b", is_dead=DeathKnell()) as b:
        await a.election.campaign()
        campaign = asyncio.create_task(b.election.campaign())
        await asyncio.sleep(0.9)
        memory.link("b").luck.arrange(trip)
        assert (await campaign).epoch == (await holder(memory))[1]
        assert virtual_now() < TTL_SECONDS - 1
