"""Scenarios in which agents die, freeze or come and go, alone or with all of their node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from orchestrator.model.node import NodeStatus
from orchestrator.model.workload import OnNodeLost
from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena, becomes
from tests.support.chaos.ground import Ground
from tests.support.operator import until

LOST_AFTER_SECONDS = 1.0
REPLACED_SECONDS = TTL_SECONDS + LOST_AFTER_SECONDS + 3.0
MOST_LOST_AFTER_SECONDS = 4.0
"""Longer than the ends of sessions that nobody renews any more lie apart."""

FENCED_SECONDS = REPLACED_SECONDS + 5.0
"""The leader leaves the watchdog the time that it may take, and a margin."""

FLAPPING_SECONDS = 20.0
LONG_FLAPPING_SECONDS = 600.0
NODE = "n1"


async def killed_agent(arena: Arena) -> float:
    """Killed with kill -9 and started again: it adopts what runs, and sees to what has crashed."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 6)
        here = arena.living_on(NODE, name)
        agent = arena.cluster.agents[NODE]
        arena.kill(agent)
        arena.kill_life(here[0])
        began = time.monotonic()
        await asyncio.to_thread(agent.start)
        await operator.running(name, 6, lambda found: any(each.attempt > 1 for each in found))
        seconds = time.monotonic() - began
    assert {life.pid for life in here[1:]} <= {life.pid for life in arena.living(name)}
    return seconds


async def frozen_agent(arena: Arena) -> float:
    """So long that its node is lost. What may run twice is replaced, and its old copy stopped when
    the agent wakes; what must not, waits for it, and goes on as it was."""
    arena.deeds.lost_nodes.add(NODE)
    async with arena.operating() as operator:
        once, twice = await arena.once_and_twice(operator, LOST_AFTER_SECONDS)
        kept = arena.living_on(NODE, once)
        agent = arena.cluster.agents[NODE]
        arena.pause(agent)
        began = time.monotonic()
        await arena.left(operator, twice, NODE)
        seconds = time.monotonic() - began
        assert arena.living_on(NODE, once) == kept
        agent.resume()
        await until(lambda: arena.is_without(NODE, twice))
        assert arena.living_on(NODE, once) == kept
    return seconds


async def frozen_agent_with_watchdog(arena: Arena) -> float:
    """Its watchdog stops in time what must not run twice, so that it is replaced by itself."""
    arena.deeds.lost_nodes.add(NODE)
    async with arena.operating() as operator:
        name = await arena.stand_up(
            operator, 3, on_node_lost=OnNodeLost.FENCE, lost_after_seconds=LOST_AFTER_SECONDS
        )
        assert arena.living_on(NODE, name)
        agent = arena.cluster.agents[NODE]
        arena.pause(agent)
        began = time.monotonic()
        await arena.left(operator, name, NODE)
        seconds = time.monotonic() - began
        assert not arena.living_on(NODE, name)
        agent.resume()
    return seconds


async def dead_node(arena: Arena) -> float:
    """The agent and all processes of its node die at once: what may run twice is replaced; what
    must not, only when a person has said that the node is dead."""
    async with arena.operating() as operator:
        once, twice = await arena.once_and_twice(operator, LOST_AFTER_SECONDS)
        began = time.monotonic()
        arena.kill_node(NODE)
        await arena.left(operator, twice, NODE)
        seconds = time.monotonic() - began
        assert all(each.attempt == 1 for each in await operator.instances(once))
        await operator.api.declare_lost(NODE)
        await arena.left(operator, once, NODE)
        await operator.api.declare_lost(NODE, is_lost=False)
        await asyncio.to_thread(arena.cluster.agents[NODE].start)
    return seconds


async def dead_node_that_is_back(arena: Arena) -> float:
    """It is started again at once, with nothing running on it: all of it is started again."""
    async with arena.operating() as operator:
        once, twice = await arena.once_and_twice(operator, LOST_AFTER_SECONDS)
        began = time.monotonic()
        arena.kill_node(NODE)
        await asyncio.to_thread(arena.cluster.agents[NODE].start)
        for name in (once, twice):
            await operator.running(name, 3, lambda found: any(each.attempt > 1 for each in found))
        return time.monotonic() - began


async def flapping_node(arena: Arena) -> float:
    """Its session ends and comes again, over and over: nothing is moved for it."""
    return await _flapping(arena, FLAPPING_SECONDS)


async def flapping_node_for_minutes(arena: Arena) -> float:
    return await _flapping(arena, LONG_FLAPPING_SECONDS)


async def _flapping(arena: Arena, seconds: float) -> float:
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 6)
        before = {life.pid for life in arena.living(name)}
        agent = arena.cluster.agents[NODE]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            arena.pause(agent)
            await asyncio.sleep(arena.rng.uniform(0.5 * TTL_SECONDS, 2.0 * TTL_SECONDS))
            agent.resume()
            await asyncio.sleep(arena.rng.uniform(0.0, TTL_SECONDS))
        began = time.monotonic()
        await becomes(operator, NODE, NodeStatus.READY)
        assert {life.pid for life in arena.living(name)} == before
    return time.monotonic() - began


async def most_nodes_silent(arena: Arena) -> float:
    """Three of five at once: more likely the network's fault than theirs, so nothing is moved."""

    async def freeze(names: list[str]) -> None:
        for name in names:
            arena.pause(arena.cluster.agents[name])
        await asyncio.sleep(TTL_SECONDS + MOST_LOST_AFTER_SECONDS + 4.0)
        for name in names:
            arena.cluster.agents[name].resume()

    return await _brake_holds(arena, freeze)


async def most_sessions_revoked(arena: Arena) -> float:
    """The leases of three of five nodes end in one moment, though their agents are well."""

    async def revoke(names: list[str]) -> None:
        for lease in await asyncio.to_thread(arena.session_leases, names):
            arena.fault(f"lease {lease:x} revoked")
            await asyncio.to_thread(arena.etcdctl.revoke, lease)

    return await _brake_holds(arena, revoke)


async def _brake_holds(arena: Arena, silence: Callable[[list[str]], Awaitable[None]]) -> float:
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 10, lost_after_seconds=MOST_LOST_AFTER_SECONDS)
        before = {life.pid for life in arena.living(name)}
        await silence(["n1", "n2", "n3"])
        began = time.monotonic()
        for node in arena.cluster.agents:
            await becomes(operator, node, NodeStatus.READY)
        await operator.running(name, 10)
        assert {life.pid for life in arena.living(name)} == before
    return time.monotonic() - began


FIVE_NODES = Ground(members=1, controllers=2, agents=5)

SCENARIOS = (
    Scenario(12, "agent frozen until its node is lost", frozen_agent, REPLACED_SECONDS),
    Scenario(13, "agent killed and started again", killed_agent, 10.0),
    Scenario(14, "agent frozen, watchdog at work", frozen_agent_with_watchdog, FENCED_SECONDS),
    Scenario(15, "node dead", dead_node, REPLACED_SECONDS),
    Scenario(15, "node dead and back at once", dead_node_that_is_back, 15.0, span=Span.LONG),
    Scenario(16, "node flapping for 20 s", flapping_node, 10.0, span=Span.LONG),
    Scenario(16, "node flapping for 10 min", flapping_node_for_minutes, 10.0, span=Span.MINUTES),
    Scenario(17, "most nodes silent", most_nodes_silent, 10.0, FIVE_NODES),
    Scenario(
        17, "most nodes' leases revoked", most_sessions_revoked, 10.0, FIVE_NODES, span=Span.LONG
    ),
)
