"""Elections: one leader at a time, epochs that grow, and no acting on an old picture."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.commit import commit
from store.errors import NoSpace, OutcomeUnknown, SessionLost
from store.memory.cluster import MemoryCluster
from store.memory.meanness import CALM, LOST_REPLY, REFUSED, Meanness, Trip, late
from store.transactions import FenceLost, Leadership, Put, Transaction
from store.values import DeleteOp, PutOp, RangeOp, Txn
from tests.support.candidates import KEY, TTL_SECONDS, candidate, cluster, holder, patience
from tests.support.mirroring import PREFIX


@in_virtual_time
async def test_the_first_candidate_leads_with_its_keys_create_revision() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        leadership = await a.election.campaign()

        assert await holder(memory) == ("a", leadership.epoch)
        assert leadership == Leadership(KEY, a.mirror.versions[KEY].create_revision)


@in_virtual_time
async def test_when_the_leader_resigns_the_next_takes_over_at_once() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        waiting = asyncio.create_task(b.election.campaign())
        await asyncio.sleep(1.0)
        assert not waiting.done()

        resigned_at = virtual_now()
        await a.election.resign(first)
        second = await waiting

        assert virtual_now() - resigned_at < 0.1
        assert second.epoch > first.epoch
        assert await holder(memory) == ("b", second.epoch)


@in_virtual_time
async def test_when_the_leader_dies_the_next_takes_over_after_its_lease() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        await a.election.campaign()
        died_at = virtual_now()
        keeping = asyncio.create_task(b.session.keep_alive())
        second = await b.election.campaign()
        keeping.cancel()

        assert TTL_SECONDS <= virtual_now() - died_at + 0.1 <= TTL_SECONDS + 1.0
        assert await holder(memory) == ("b", second.epoch)


@in_virtual_time
async def test_resigning_leaves_a_successors_key_alone() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        await a.election.resign(first)
        second = await b.election.campaign()

        await a.election.resign(first)
        assert await holder(memory) == ("b", second.epoch)


@in_virtual_time
async def test_resigning_works_though_somebody_has_edited_the_key() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        person = memory.connect("person")
        await person.txn(Txn(success=(PutOp(KEY, b'{"replica":"a","note":"mine"}'),)))
        await a.election.resign(first)
        assert (await b.election.campaign()).epoch > first.epoch


@pytest.mark.parametrize("trip", [REFUSED, LOST_REPLY, late(0.05), late(3.0)])
@in_virtual_time
async def test_winning_is_recognised_though_the_answer_was_lost(trip: Trip) -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        memory.link("a").luck.arrange(trip)
        leadership = await a.election.campaign()

        assert await holder(memory) == ("a", leadership.epoch)
        await asyncio.sleep(5.0)
        assert await holder(memory) == ("a", leadership.epoch)


@in_virtual_time
async def test_a_stray_copy_of_an_earlier_try_is_known_as_ours() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        memory.link("b").luck.arrange(late(2.0))
        campaign = asyncio.create_task(b.election.campaign())
        await asyncio.sleep(1.0)
        memory.treat(Meanness(watch_seconds=(1.5, 1.5)), "b")
        await a.election.resign(first)

        second = await campaign
        assert second.epoch > first.epoch
        assert await holder(memory) == ("b", second.epoch)


@in_virtual_time
async def test_a_leader_acts_only_after_its_mirror_has_seen_all_earlier_writes() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        memory.treat(Meanness(watch_seconds=(0.5, 0.5)), "b")
        put = Put(PREFIX + "job", b"{}", base=0)
        await commit(memory.connect("a"), Transaction((put,), "op1", first), patience())
        await a.election.resign(first)
        second = await b.election.campaign()

        assert put.key in b.fold.kvs
        assert b.mirror.revision >= second.epoch


@in_virtual_time
async def test_a_session_that_died_while_its_key_was_on_the_way_does_not_lead() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        memory.treat(Meanness(watch_seconds=(4.5, 4.5)), "a")
        with pytest.raises(SessionLost, match="not been renewed"):
            await a.election.campaign()


@in_virtual_time
async def test_a_session_that_the_store_has_ended_cannot_win() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        await memory.connect("observer").revoke_lease(a.session.lease_id)
        with pytest.raises(SessionLost, match="during a campaign"):
            await a.election.campaign()


@in_virtual_time
async def test_a_campaign_without_a_store_ends_with_the_session() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        memory.treat(Meanness(refused=1.0), "a")
        with pytest.raises(SessionLost, match="during a campaign"):
            await a.election.campaign()
        assert TTL_SECONDS <= virtual_now() <= TTL_SECONDS + 1.0
        memory.treat(CALM, "a")


@in_virtual_time
async def test_a_key_that_is_deleted_before_the_barrier_is_raced_for_again() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        memory.treat(Meanness(watch_seconds=(0.5, 0.5)), "a")
        campaign = asyncio.create_task(a.election.campaign())
        await asyncio.sleep(0.1)
        _, lost_epoch = await holder(memory)
        await memory.connect("person").txn(Txn(success=(DeleteOp(KEY),)))
        memory.break_watches("a")

        leadership = await campaign
        assert leadership.epoch > lost_epoch
        assert await holder(memory) == ("a", leadership.epoch)


@in_virtual_time
async def test_nobody_is_elected_without_space() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        memory.engine.quota.raise_alarm()
        with pytest.raises(NoSpace):
            await a.election.campaign()


@in_virtual_time
async def test_a_restarted_replica_is_a_new_candidate() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        first = await a.election.campaign()
        async with candidate(memory, "a", seed=2) as again:
            keeping = asyncio.create_task(again.session.keep_alive())
            second = await again.election.campaign()
            keeping.cancel()
            assert second.epoch > first.epoch


@in_virtual_time
async def test_a_deposed_leader_writes_nothing_more() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        first = await a.election.campaign()
        memory.pause("a")
        keeping = asyncio.create_task(b.session.keep_alive())
        await b.election.campaign()
        keeping.cancel()
        memory.resume("a")

        put = Put(PREFIX + "job", b"{}", base=0)
        outcome = await commit(memory.connect("a"), Transaction((put,), "op1", first), patience())
        assert isinstance(outcome, FenceLost)


@pytest.mark.parametrize("seed", range(15))
@in_virtual_time
async def test_with_losses_and_delays_epochs_grow_and_never_overlap(seed: int) -> None:
    memory = cluster(seed)
    mean = Meanness(
        request_seconds=(0.0, 0.1),
        refused=0.1,
        lost_request=0.1,
        lost_reply=0.1,
        late_commit=0.1,
        late_seconds=(0.0, 2.0),
        watch_seconds=(0.0, 0.2),
        watch_broken=0.1,
    )
    epochs: list[int] = []

    async def lead_again_and_again(name: str) -> None:
        for term in range(3):
            async with candidate(memory, name, seed=seed * 10 + term) as me:
                memory.treat(mean, name)
                keeping = asyncio.create_task(me.session.keep_alive())
                try:
                    leadership = await me.election.campaign()
                    epochs.append(leadership.epoch)
                    await me.election.resign(leadership)
                except (SessionLost, OutcomeUnknown):
                    pass
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                memory.treat(CALM, name)
                await me.session.close()

    async with asyncio.timeout(600.0):
        await asyncio.gather(*(lead_again_and_again(name) for name in "abc"))
    assert len(epochs) >= 5
    assert epochs == sorted(set(epochs))


async def spoil(memory: MemoryCluster) -> None:
    """As by people: what they write is on no lease."""
    await memory.connect("people").txn(Txn(success=(PutOp(KEY, b"spoilt"),)))


@in_virtual_time
async def test_a_leader_puts_a_key_that_was_written_over_back_on_its_lease() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a:
        leadership = await a.election.campaign()
        keeping = asyncio.create_task(a.election.keep(leadership))
        for _ in range(2):
            await spoil(memory)
            await asyncio.sleep(1.0)
            assert await holder(memory) == ("a", leadership.epoch)
        (kv,) = (await memory.connect("observer").range(RangeOp(KEY))).kvs
        assert kv.lease == a.session.lease_id
        await memory.connect("people").txn(Txn(success=(DeleteOp(KEY),)))
        async with asyncio.timeout(1.0):
            await keeping


@in_virtual_time
async def test_a_key_on_no_lease_outlives_nobody() -> None:
    memory = cluster()
    async with candidate(memory, "a") as a, candidate(memory, "b") as b:
        former = await a.election.campaign()
        campaign = asyncio.create_task(b.election.campaign())
        keeping_b = asyncio.create_task(b.session.keep_alive())
        await asyncio.sleep(1.0)
        await spoil(memory)
        leadership = await campaign
        assert leadership.epoch > former.epoch
        assert await holder(memory) == ("b", leadership.epoch)
        keeping_b.cancel()
