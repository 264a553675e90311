"""Membership as the view's watch shows it, to readers quick and slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.cluster.manager import EtcdClusterManager
from orchestrator.model.errors import NodeNotFound
from orchestrator.model.membership import ClusterEvent, NodeAdded, NodeRemoved, NodeUpdated
from orchestrator.model.node import Availability, DesiredNode, NodeReport, NodeSession
from orchestrator.model.resources import NodeResources
from orchestrator.simulation.virtual_time import in_virtual_time
from tests.support.office import KEYS, office

NOTHING = NodeResources()


async def told(events: AsyncIterator[ClusterEvent]) -> tuple[type[ClusterEvent], str]:
    async with asyncio.timeout(10.0):
        event = await anext(events)
    return type(event), event.node.name


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
async def test_what_a_person_or_the_agent_says_of_a_node_is_told() -> None:
    async with office() as desk:
        events = EtcdClusterManager(desk.view).subscribe()
        waiting = asyncio.create_task(told(events))
        await asyncio.sleep(0.1)
        await desk.put(KEYS.desired_node("n1"), DesiredNode(Availability.CORDONED))
        assert await waiting == (NodeUpdated, "n1")
        await desk.put(KEYS.node_report("n1"), NodeReport("http://n1:2", NOTHING, NOTHING))
        assert await told(events) == (NodeUpdated, "n1")
        await desk.put(KEYS.session("n1"), NodeSession("n1", pid=2))
        await desk.delete(KEYS.session("n1"))
        assert await told(events) == (NodeRemoved, "n1")


@in_virtual_time
async def test_who_has_fallen_behind_is_told_what_has_become_of_the_nodes() -> None:
    async with office() as desk:
        events = EtcdClusterManager(desk.view).subscribe()
        waiting = asyncio.create_task(told(events))
        await asyncio.sleep(0.1)
        await desk.put(KEYS.session("n2"), NodeSession("n2"))
        assert await waiting == (NodeAdded, "n2")
        await desk.put(KEYS.session("n3"), NodeSession("n3"))
        await desk.delete(KEYS.session("n3"))
        await desk.delete(KEYS.session("n2"))
        await desk.put(KEYS.session("n2"), NodeSession("n2", pid=2))
        await desk.delete(KEYS.session("n1"))
        await asyncio.sleep(0.1)
        assert await told(events) == (NodeRemoved, "n1")
        assert await told(events) == (NodeUpdated, "n2"), "its agent has begun anew"


@in_virtual_time
async def test_nodes_are_listed_and_found_by_name() -> None:
    async with office() as desk:
        manager = EtcdClusterManager(desk.view)
        await manager.initialize()
        assert [node.name for node in manager.list_nodes()] == ["n1"]
        assert manager.get_node("n1") == manager.list_nodes()[0]
        with pytest.raises(NodeNotFound, match="`orc get nodes` lists them"):
            manager.get_node("n2")
