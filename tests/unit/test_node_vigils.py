"""Nodes that die while the leader holds a connection to their agents."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from orchestrator.agent.witness_routes import witness_routes
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.node_vigils import NodeVigils
from orchestrator.model.instance import Assignment, FenceTerms, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.model.records import dump
from orchestrator.model.resources import NodeResources
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.presence import Presence
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.values import PutOp, Txn
from tests.support.ports import free_port

KEYS = Keys()
LIMIT_SECONDS = 30.0
LEASE_SECONDS = 600


@dataclass
class Place:
    """A store, agents that only serve what a leader asks of them, and a leader that watches."""

    memory: MemoryCluster
    view: ClusterView
    vigils: NodeVigils
    logs: list[Any]
    told: list[tuple[str, str, str]] = field(default_factory=list)
    _agents: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def tell(self, kind: str, subject: str, reason: str) -> None:
        self.told.append((kind, subject, reason))

    async def start_agent(self, node: str, number: int) -> None:
        settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
        presence = Presence(node)
        presence.announce(number)
        app = new_app(settings, new_registry("agent"), Health())
        presence.mount(app)
        app.add_routes(witness_routes())
        self._agents[node] = AsyncExitStack()
        await self._agents[node].enter_async_context(serving(app, settings))
        store = self.memory.connect(node)
        await store.grant_lease(number, LEASE_SECONDS)
        report = NodeReport(settings.url, NodeResources(), NodeResources())
        rows = (
            PutOp(KEYS.node_report(node), dump(report)),
            PutOp(KEYS.session(node), dump(NodeSession(node)), number),
        )
        await store.txn(Txn(success=rows))

    async def end_agent(self, node: str) -> None:
        """Its sockets close; its lease stays."""
        await self._agents.pop(node).aclose()

    async def close(self) -> None:
        for node in list(self._agents):
            await self.end_agent(node)

    def doubts(self) -> list[str]:
        return [each["doubt"] for each in self.logs if "doubt" in each]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def place(nodes: int) -> AsyncIterator[Place]:
    """The leader holds a connection to each of n1, n2..."""
    memory, rng = MemoryCluster(virtual_now), random.Random(1)
    view = ClusterView(memory.connect("leader"), KEYS, clock=virtual_now, rng=rng)
    with capture_logs() as logs:
        async with aiohttp.ClientSession() as http:
            vigils = NodeVigils(view, http, replica="c1", rng=rng)
            there = Place(memory, view, vigils, logs)
            leading = asyncio.create_task(lead(there))
            for number in range(1, nodes + 1):
                await there.start_agent(f"n{number}", number)
            await there.until(lambda: vigils.met == nodes)
            yield there
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
            await there.close()


async def lead(there: Place) -> None:
    async with asyncio.TaskGroup() as term:
        term.create_task(there.view.run())
        term.create_task(there.vigils.run(term, there.tell))


@pytest.mark.slow
async def test_a_node_that_two_others_find_dead_is_lost_long_before_its_lease_ends() -> None:
    async with place(nodes=3) as there:
        await there.end_agent("n1")
        await there.until(lambda: there.told != [])
        assert there.vigils.met == 2, "it is nobody's death that would be noticed now"
        ((kind, node, reason),) = there.told
        assert (kind, node) == ("NodeFoundDead", "n1")
        assert "leader c1" in reason
        assert "n2 and n3" in reason
        await there.until(lambda: "n1" not in there.view.state.sessions)
        assert there.view.state.sessions.keys() == {"n2", "n3"}


@pytest.mark.slow
async def test_where_only_one_other_is_there_the_lease_decides() -> None:
    async with place(nodes=2) as there:
        await there.end_agent("n1")
        await there.until(lambda: there.doubts() != [])
        assert there.doubts()[0].startswith("0 of the 2 witnesses")
        assert "n1" in there.view.state.sessions
        assert there.told == []


@pytest.mark.slow
@pytest.mark.parametrize("row", ["a promise", "no record"])
async def test_a_node_that_has_promised_to_stop_an_instance_is_left_to_its_lease(row: str) -> None:
    name = InstanceName("default", "web", 0, 1)
    fence = FenceTerms(after_seconds=30.0, grace_seconds=5.0)
    assignment = Assignment("default", "web", 1, 0, 1, Wanted.RUNNING, "new", fence=fence)
    value = dump(assignment) if row == "a promise" else b"{"
    async with place(nodes=3) as there:
        put = PutOp(KEYS.assignment(InstancePlace("n1", name)), value)
        await there.memory.connect("leader").txn(Txn(success=(put,)))
        await there.end_agent("n1")
        await there.until(lambda: there.doubts() != [])
        assert "has promised" in there.doubts()[0]
        assert "n1" in there.view.state.sessions
