"""Scenarios in which the wall clock jumps, or the store itself goes back in time."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena
from tests.support.chaos.ground import Ground
from tests.support.chaos.lives import Life

JUMPS = ("+3600", "-3600", "+0 x1.5", "+0")


async def jumping_clock(arena: Arena) -> float:
    """An hour ahead, an hour behind, and too fast: nobody loses a lease over it, nothing moves."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 4)
        before = {life.pid for life in arena.living(name)}
        leader = await operator.leader()
        slowest = 0.0
        for replicas, offset in enumerate(JUMPS, 5):
            arena.fault(f"wall clock {offset}")
            arena.wall_clock.set(offset)
            await asyncio.sleep(1.5 * TTL_SECONDS)
            began = time.monotonic()
            await arena.scale(operator, name, replicas)
            slowest = max(slowest, time.monotonic() - began)
        assert await operator.leader() == leader
        assert before <= {life.pid for life in arena.living(name)}
    return slowest


async def restored_snapshot(arena: Arena) -> float:
    """etcd forgets what came after its backup: whoever notices ends or refuses to obey, and not
    one process does. When a person has confirmed it, what the backup says is so."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 3)
        revision = await arena.quiet()
        snapshot = arena.path / "snapshot"
        await asyncio.to_thread(arena.etcdctl.save, snapshot)
        await arena.scale(operator, name, 5)
        await arena.stand_up(operator, 2)
    before = {life.pid for life in arena.lives.living()}
    ended = {life.pid for life in arena.lives.seen() if life.is_over}
    arena.deeds.killed |= ended  # etcd forgets why they did, and they have been judged before
    arena.fault(f"etcd restored from its revision {revision}")
    await asyncio.to_thread(arena.restore_etcd, snapshot)
    for process in arena.cluster.processes:
        await asyncio.to_thread(process.wait)
    assert before == {life.pid for life in arena.lives.living()}
    began = time.monotonic()
    arena.deeds.killed |= before - {life.pid for life in arena.living(name) if _is_old(life)}
    await asyncio.to_thread(arena.accept_etcd)
    async with arena.operating() as operator:
        await operator.running(name, 3)
    return time.monotonic() - began


def _is_old(life: Life) -> bool:
    """Of the slots that the backup knows."""
    return life.run.place.instance.slot < 3


SCENARIOS = (
    Scenario(
        27,
        "wall clock jumps by an hour",
        jumping_clock,
        10.0,
        Ground(has_wall_clock=True),
        span=Span.LONG,
    ),
    Scenario(28, "etcd restored from a backup", restored_snapshot, 30.0, Ground(members=1)),
)
