"""Leaders that must end, and what they say: their last words are all that a person finds in the
log. And leaders that have died, or are taken for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path

import pytest

from orchestrator.controller.leader import Peers
from orchestrator.model.node import Leader
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from store.memory.meanness import Meanness, Trip
from store.values import DeleteOp, PutOp, RangeOp, Txn

NEXT_MOVE = "start this replica again, .* if etcd was wiped .* --accept-store"


async def end_its_lease(world: World) -> None:
    store = world.store.connect("people")
    (kv,) = (await store.range(RangeOp(world.keys.leader))).kvs
    await store.revoke_lease(kv.lease)


async def delete_its_key(world: World) -> None:
    await world.store.connect("people").txn(Txn(success=(DeleteOp(world.keys.leader),)))
    await world.apply(web(1))


@pytest.mark.parametrize(
    ("depose", "finding"),
    [
        (end_its_lease, r"lease \d+ has ended: it expired or was revoked"),
        (delete_its_key, "another replica leads since before"),
    ],
)
@in_virtual_time
async def test_a_deposed_leader_says_why_it_ends_and_what_to_do(
    tmp_path: Path, depose: Callable[[World], Awaitable[None]], finding: str
) -> None:
    async with World(tmp_path).running() as world:
        await world.until(lambda: world.leader != "")
        deposed = world.controllers[world.leader]
        await depose(world)
        await world.until(deposed.done)
        with pytest.RaisesGroup(pytest.RaisesExc(match=f"{finding}.*{NEXT_MOVE}")):
            await deposed


@in_virtual_time
async def test_a_leader_whose_first_write_is_not_answered_leads_when_it_is(tmp_path: Path) -> None:
    """Its lease is renewed meanwhile."""
    slow = Meanness(request_seconds=(0.3, 0.3), reply_seconds=(0.3, 0.3))
    world = World(tmp_path)
    world.store.treat(slow)
    async with world.running():
        await world.until(lambda: world.leader != "")
        leader = world.leader
        lost = Trip(request_seconds=inf, cut_seconds=4.0)
        world.store.link(leader).luck.arrange(*[lost] * 6)  # it does not know yet that it leads
        await asyncio.sleep(30.0)
        assert world.leader == leader
        assert not world.controllers[leader].done()
        await world.run(web(1))


class Knell:
    """The `Peers` of all replicas: they believe whatever a test says of the leader."""

    def __init__(self) -> None:
        self.announced: set[int] = set()
        self.asked_about: set[tuple[str, int]] = set()
        self._is_rung = asyncio.Event()

    def announce(self, lease_id: int) -> None:
        self.announced.add(lease_id)

    async def until_dead(self, leader: Leader, lease_id: int) -> None:
        self.asked_about.add((leader.replica, lease_id))
        await self._is_rung.wait()

    def ring(self) -> None:
        """The present leader is dead; the next one will live."""
        self._is_rung.set()
        self._is_rung = asyncio.Event()


class KnellWorld(World):
    def __init__(self, path: Path) -> None:
        self.knell = Knell()
        super().__init__(path)

    def _peers(self, _name: str) -> Peers:
        return self.knell


async def lease_of_the_leader(world: World) -> int:
    return (await world.store.connect("people").range(RangeOp(world.keys.leader))).kvs[0].lease


@in_virtual_time
async def test_a_leader_that_has_died_is_followed_long_before_its_lease_ends(
    tmp_path: Path,
) -> None:
    world = KnellWorld(tmp_path)
    async with world.running():
        await world.until(lambda: len(world.knell.asked_about) == 1)
        old, lease = world.leader, await lease_of_the_leader(world)
        assert world.knell.asked_about == {(old, lease)}
        assert lease in world.knell.announced
        await world.kill_controller(old)
        world.knell.ring()
        await world.until(lambda: world.leader not in ("", old), within=0.5)
        await world.run(web(2))


@in_virtual_time
async def test_a_leader_that_is_only_taken_for_dead_is_followed_and_ends(tmp_path: Path) -> None:
    world = KnellWorld(tmp_path)
    async with world.running():
        await world.until(lambda: len(world.knell.asked_about) == 1)
        old = world.leader
        world.knell.ring()
        await world.until(lambda: world.leader not in ("", old), within=0.5)
        await world.until(world.controllers[old].done)
        with pytest.RaisesGroup(pytest.RaisesExc(match=f"was revoked.*{NEXT_MOVE}")):
            await world.controllers[old]


@in_virtual_time
async def test_a_leader_whose_row_cannot_be_read_is_left_to_its_lease(tmp_path: Path) -> None:
    world = KnellWorld(tmp_path)
    async with world.running(controllers=1):
        await world.until(lambda: world.leader == "c1")
        lease, store = await lease_of_the_leader(world), world.store.connect("people")
        await store.txn(Txn(success=(PutOp(world.keys.leader, b"{", lease),)))
        world.start_controller("c2")
        await world.kill_controller("c1")
        await world.until(lambda: world.leader == "c2")
        assert world.knell.asked_about == set()
