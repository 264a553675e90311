"""Scenarios in which leaders and other controllers die, freeze, or start together."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena
from tests.support.etcd import EtcdMember
from tests.support.orc_process import OrcProcess

TAKE_OVER_SECONDS = TTL_SECONDS + 2.0


async def frozen_leader(arena: Arena) -> float:
    """For two lease times. The next one leads; the old one wakes, writes nothing and ends."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 3)
        old = await arena.leader(operator)
    async with arena.without(old) as operator, arena.writing(operator):
        arena.pause(old)
        began = time.monotonic()
        await arena.scale(operator, name, 5)
        seconds = time.monotonic() - began
        await asyncio.sleep(max(0.0, 2 * TTL_SECONDS - seconds))
        old.resume()
        assert await asyncio.to_thread(old.wait) == 1
    return seconds


async def killed_leader(arena: Arena) -> float:
    """Between two transactions of a scale-up: what is half done is completed, and nothing twice."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 2)
        old = await arena.leader(operator)
    async with arena.without(old) as operator, arena.writing(operator):
        await operator.scale(name, 8)
        await asyncio.sleep(arena.rng.uniform(0.0, 0.3))
        arena.kill(old)
        began = time.monotonic()
        await operator.running(name, 8)
        return time.monotonic() - began


async def killed_leaders_in_a_row(arena: Arena) -> float:
    """Each as soon as it leads, until none is left; then all start at once."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 3)
        for _ in range(len(arena.cluster.controllers) - 1):
            old = await arena.leader(operator)
            arena.kill(old)
            await operator.leader(other_than=old.name)
        arena.kill(await arena.leader(operator))
    return await _all_start(arena, name)


async def all_controllers_at_once(arena: Arena) -> float:
    """Killed, and started again at the same moment: one of them leads, and nothing has moved."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 3)
    for controller in arena.cluster.controllers.values():
        arena.kill(controller)
    return await _all_start(arena, name)


async def replaced_one_by_one(arena: Arena) -> float:
    """In good order, as for an upgrade, while people write: somebody always carries it out."""
    slowest = 0.0
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 2)
        for replicas, each in enumerate(arena.cluster.controllers.values(), start=3):
            arena.fault(f"stop of {each.name}")
            await asyncio.to_thread(each.stop)
            slowest = max(slowest, await arena.scale(operator, name, replicas))
            await asyncio.to_thread(each.start)
    return slowest


async def _all_start(arena: Arena, name: str) -> float:
    before = [life.pid for life in arena.living(name)]
    began = time.monotonic()
    await asyncio.to_thread(arena.cluster.revive)
    async with arena.operating() as operator:
        await arena.scale(operator, name, 4)
    assert {*before} <= {life.pid for life in arena.living(name)}
    return time.monotonic() - began


async def stopped_standbys_and_leader(arena: Arena) -> float:
    """Everybody freezes, etcd too, for longer than all leases; then all go on."""
    return await _everything_freezes(arena, 2.0 * TTL_SECONDS)


async def frozen_minute(arena: Arena) -> float:
    """The same for a minute: more than what people's workloads wait for a node."""
    return await _everything_freezes(arena, 60.0)


async def _everything_freezes(arena: Arena, seconds: float) -> float:
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 4)
        before = {life.pid for life in arena.living(name)}
        frozen: list[OrcProcess | EtcdMember] = [*arena.cluster.processes, *arena.etcd.members]
        for each in frozen:
            arena.pause(each)
        await asyncio.sleep(seconds)
        began = time.monotonic()
        arena.rng.shuffle(frozen)
        for each in frozen:
            each.resume()
        await arena.heal()
        await arena.scale(operator, name, 5)
        assert before <= {life.pid for life in arena.living(name)}
        return time.monotonic() - began


SCENARIOS = (
    Scenario(1, "leader frozen for two lease times", frozen_leader, TAKE_OVER_SECONDS),
    Scenario(2, "leader killed in a scale-up", killed_leader, TAKE_OVER_SECONDS),
    Scenario(2, "one leader after the other killed", killed_leaders_in_a_row, 10.0, span=Span.LONG),
    Scenario(30, "all controllers killed and started", all_controllers_at_once, 10.0),
    Scenario(
        30,
        "controllers replaced one by one",
        replaced_one_by_one,
        TAKE_OVER_SECONDS,
        span=Span.LONG,
    ),
    Scenario(
        31,
        "everything frozen for two lease times",
        stopped_standbys_and_leader,
        15.0,
        span=Span.LONG,
    ),
    Scenario(31, "everything frozen for a minute", frozen_minute, 15.0, span=Span.MINUTES),
)
