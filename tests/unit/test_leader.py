"""What a leader says that must end: its last words are all that a person finds in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from store.values import DeleteOp, RangeOp, Txn
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time
from tests.support.world import World

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
