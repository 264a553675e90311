"""A node's registration while the store answers badly."""

from __future__ import annotations

import asyncio
import random
from math import inf

import pytest

from orchestrator.cluster.registration import Registration
from orchestrator.model.errors import ClusterError
from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeSession
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import SessionLost
from store.memory.cluster import MemoryCluster
from store.memory.meanness import LOST_REPLY, Trip
from store.patience import Patience
from store.values import PutOp, RangeOp, Txn

TTL_SECONDS = 10


def registration(memory: MemoryCluster, agent_id: str = "a1") -> Registration:
    return Registration(
        memory.connect("n1"),
        Keys(),
        "n1",
        NodeSession(agent_id),
        ttl_seconds=TTL_SECONDS,
        clock=virtual_now,
        rng=random.Random(agent_id + str(memory.engine.revision)),
    )


def patience() -> Patience:
    return Patience(virtual_now, random.Random(1), inf)


@in_virtual_time
async def test_a_former_life_is_ended_though_the_answer_to_that_is_lost() -> None:
    memory = MemoryCluster(virtual_now)
    former = await registration(memory).register(patience())
    memory.link("n1").luck.arrange(Trip(), Trip(), LOST_REPLY)  # grant, create, revoke
    fence = await registration(memory).register(patience())
    assert fence.create_revision > former.create_revision


@in_virtual_time
async def test_a_lease_that_ends_before_it_holds_the_session_is_a_lost_session() -> None:
    memory = MemoryCluster(virtual_now)
    attempt = registration(memory)
    lost = Trip(request_seconds=inf, cut_seconds=2.0 * TTL_SECONDS)
    memory.link("n1").luck.arrange(Trip(), lost, lost, lost)
    with pytest.raises(SessionLost):
        await attempt.register(patience())


@in_virtual_time
async def test_another_agent_of_that_name_is_refused() -> None:
    memory = MemoryCluster(virtual_now)
    await registration(memory).register(patience())
    with pytest.raises(ClusterError, match="is in use"):
        await registration(memory, "a2").register(patience())


async def write_over(memory: MemoryCluster) -> None:
    """As `etcdctl put` does: the row is taken off its lease."""
    people = memory.connect("people")
    key = Keys().session("n1")
    value = (await people.range(RangeOp(key))).kvs[0].value
    await people.txn(Txn(success=(PutOp(key, value),)))


@in_virtual_time
async def test_a_former_life_without_a_lease_is_ended_too() -> None:
    memory = MemoryCluster(virtual_now)
    former = await registration(memory).register(patience())
    await write_over(memory)
    async with asyncio.timeout(TTL_SECONDS):
        fence = await registration(memory).register(patience())
    assert fence.create_revision > former.create_revision


@in_virtual_time
async def test_another_agents_session_without_a_lease_is_told_with_what_to_do() -> None:
    memory = MemoryCluster(virtual_now)
    await registration(memory).register(patience())
    await write_over(memory)
    with pytest.raises(ClusterError, match=r"no lease that could end.* delete the key"):
        await registration(memory, "a2").register(patience())
