"""Membership as the view's watch shows it, to readers quick and slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from orchestrator.cluster.manager import EtcdClusterManager
from orchestrator.cluster.view import LISTENER_LIMIT
from orchestrator.model.membership import ClusterEvent, NodeAdded, NodeRemoved
from orchestrator.model.node import NodeSession
from store.values import PutOp, Txn
from tests.support.office import KEYS, Office, office
from tests.support.virtual_time import in_virtual_time

A_TXN = 100


async def told(events: AsyncIterator[ClusterEvent]) -> tuple[type[ClusterEvent], str]:
    async with asyncio.timeout(10.0):
        event = await anext(events)
    return type(event), event.node.name


async def flood(desk: Office) -> None:
    """More changes at once than a listener holds."""
    for start in range(0, LISTENER_LIMIT + A_TXN, A_TXN):
        puts = (PutOp(f"{KEYS.root}flood/{start + index}", b"{}") for index in range(A_TXN))
        await desk.people.txn(Txn(success=tuple(puts)))


@in_virtual_time
async def test_nodes_that_come_and_go_are_told_in_order() -> None:
    async with office() as desk:
        events = EtcdClusterManager(desk.view).subscribe()
        waiting = asyncio.create_task(told(events))
        await asyncio.sleep(0.1)
        await desk.put(KEYS.session("n2"), NodeSession("n2"))
        assert await waiting == (NodeAdded, "n2")
        await desk.delete(KEYS.session("n1"))
        assert await told(events) == (NodeRemoved, "n1")


@in_virtual_time
async def test_who_has_fallen_behind_is_told_what_has_become_of_the_nodes() -> None:
    async with office() as desk:
        events = EtcdClusterManager(desk.view).subscribe()
        waiting = asyncio.create_task(told(events))
        await asyncio.sleep(0.1)
        desk.memory.pause("leader")
        await desk.put(KEYS.session("n2"), NodeSession("n2"))
        await flood(desk)
        await desk.delete(KEYS.session("n1"))
        desk.memory.resume("leader")
        assert await waiting == (NodeRemoved, "n1")
        assert await told(events) == (NodeAdded, "n2")
        await desk.delete(KEYS.session("n2"))
        assert await told(events) == (NodeRemoved, "n2")
