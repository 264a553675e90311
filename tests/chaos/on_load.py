"""Scenarios in which more happens than somebody can take in while he is stopped."""

from __future__ import annotations

import asyncio
import time

import psutil

from orchestrator.model.keys import Keys
from orchestrator.model.node import Event
from orchestrator.model.records import dump
from store.values import PutOp, Txn
from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import Arena
from tests.support.chaos.ground import Ground
from tests.support.store_history import store_at

PUTS_AT_ONCE = 128
EVENT = dump(Event(0.0, "NodeAdded", "n0", "r" * 200, "chaos"))
SOME, MANY = 20_000, 100_000
MEMORY_BYTES_PER_PUT = 10_000
"""Of a controller, for what it must take in at once: several times what it is made of."""

BLOCKED_SECONDS = 30.0

KEYS = Keys()


async def great_catch_up(arena: Arena) -> float:
    """A standby is stopped while 20,000 keys change in large transactions."""
    return await _catch_up(arena, SOME)


async def greater_catch_up(arena: Arena) -> float:
    return await _catch_up(arena, MANY)


async def _catch_up(arena: Arena, count: int) -> float:
    """It reads all of it, in pieces of revisions; and it is a standby as good as any."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 2)
        standby = await arena.standby(operator)
        before = psutil.Process(standby.pid).memory_info().rss
    async with arena.without(standby) as operator:
        arena.pause(standby)
        await _write(arena, count)
        await operator.scale(name, 4)
        began = time.monotonic()
        standby.resume()
    async with arena.operating(standby.name) as reader:
        await reader.running(name, 4)
        seconds = time.monotonic() - began
    grown = psutil.Process(standby.pid).memory_info().rss - before
    assert grown < count * MEMORY_BYTES_PER_PUT
    return seconds


async def slow_leader(arena: Arena) -> float:
    """The leader takes nothing in for 30 s, in which 20,000 keys change: another leads meanwhile,
    and when it can it ends, with a word, instead of working through what is no longer its own."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 2)
        old = await arena.leader(operator)
    async with arena.without(old) as operator:
        arena.pause(old)
        began = time.monotonic()
        await arena.scale(operator, name, 4)
        seconds = time.monotonic() - began
        await _write(arena, SOME)
        await asyncio.sleep(began + BLOCKED_SECONDS - time.monotonic())
        old.resume()
        assert await asyncio.to_thread(old.wait) == 1
        assert "and it stands by" in old.errors()[-1]
    await asyncio.to_thread(old.start)
    async with arena.operating(old.name) as reader:
        await reader.running(name, 4)
    return seconds


async def _write(arena: Arena, count: int) -> None:
    """Events, which all controllers take in, and on which nobody acts."""
    async with store_at(arena.etcd) as store:
        for first in range(0, count, PUTS_AT_ONCE):
            numbers = range(first, min(first + PUTS_AT_ONCE, count))
            puts = [PutOp(KEYS.event(0, f"chaos-{number}"), EVENT) for number in numbers]
            await store.txn(Txn(success=tuple(puts)))


LOADED = Ground(members=1, controllers=2, agents=1)

SCENARIOS = (
    Scenario(20, "20,000 changes behind", great_catch_up, 15.0, LOADED, span=Span.LONG),
    Scenario(21, "leader blocked for 30 s", slow_leader, 10.0, LOADED, span=Span.LONG),
    Scenario(20, "100,000 changes behind", greater_catch_up, 60.0, LOADED, span=Span.MINUTES),
)
