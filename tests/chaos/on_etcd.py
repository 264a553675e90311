"""Scenarios in which members of etcd die, freeze, or lose their majority."""

from __future__ import annotations

import asyncio
import time

from orchestrator.cli.errors import NotNow, ServerUnreachable
from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena
from tests.support.etcd import EtcdMember
from tests.support.operator import Operator, key_of, until

FROZEN_SECONDS = 10.0
OUTAGE_SECONDS = 3.0 * TTL_SECONDS
LONG_OUTAGE_SECONDS = 300.0
NEW_LEASE_SECONDS = 2 * TTL_SECONDS + 3.0
"""A new leader of etcd gives every lease its whole time again."""


async def killed_etcd_leader(arena: Arena) -> float:
    """Under load: nothing that was acknowledged is lost."""
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 3)
        leader = await asyncio.to_thread(arena.etcdctl.leader)
        arena.kill(leader)
        seconds = await arena.scale(operator, name, 6)
        await asyncio.to_thread(leader.start)
        return seconds


async def frozen_etcd_leader(arena: Arena) -> float:
    """For ten seconds under load; what it still carries out when it wakes is late, and harmless."""
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 3)
        leader = await asyncio.to_thread(arena.etcdctl.leader)
        return await _while_frozen(arena, operator, name, leader)


async def frozen_member_of_leader(arena: Arena) -> float:
    """Abandoned writes: our leader gives up on those that its member has taken and goes on by
    another. They are carried out when that member wakes, after what was written since."""
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 3)
        await operator.scale(name, 6)
        leader = await arena.leader(operator)
        return await _while_frozen(arena, operator, name, arena.member_of(leader))


async def _while_frozen(arena: Arena, operator: Operator, name: str, member: EtcdMember) -> float:
    arena.pause(member)
    began = time.monotonic()
    seconds = await arena.scale(operator, name, 2)
    await arena.scale(operator, name, 5)
    await asyncio.sleep(max(0.0, FROZEN_SECONDS - (time.monotonic() - began)))
    member.resume()
    return seconds


async def frozen_member_of_standby(arena: Arena) -> float:
    """A replica that only serves shows what is new as soon as it has turned to another member."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 3)
        standby = await arena.standby(operator)
    async with arena.without(standby) as operator, arena.operating(standby.name) as reader:
        member = arena.member_of(standby)
        arena.pause(member)
        began = time.monotonic()
        await arena.scale(operator, name, 4)
        await reader.running(name, 4)
        seconds = time.monotonic() - began
        member.resume()
        return seconds


async def lost_majority(arena: Arena) -> float:
    """For longer than all leases: everything runs on, nothing is moved, and it goes on."""
    return await _without_majority(arena, OUTAGE_SECONDS)


async def lost_majority_for_minutes(arena: Arena) -> float:
    """For longer than any workload waits for its nodes."""
    return await _without_majority(arena, LONG_OUTAGE_SECONDS)


async def _without_majority(arena: Arena, seconds: float) -> float:
    """One process crashes meanwhile: whoever starts it again, it runs in the end."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 4)
        crashing, *others = arena.living(name)
        for member in arena.etcd.members[1:]:
            arena.kill(member)
        arena.kill_life(crashing)
        async with asyncio.TaskGroup() as waiting:
            waiting.create_task(asyncio.sleep(seconds))
            assert await _is_refused(operator, name)
        assert {life.pid for life in others} <= {life.pid for life in arena.living(name)}
        await arena.heal_etcd()
        began = time.monotonic()
        await arena.heal()
        await arena.scale(operator, name, 5)
        return time.monotonic() - began


async def _is_refused(operator: Operator, name: str) -> bool:
    try:
        await operator.api.scale(key_of(name), 5)
    except (NotNow, ServerUnreachable):
        return True
    return False


async def compaction_under_the_stopped(arena: Arena) -> float:
    """A controller and an agent are stopped while everything changes and the history goes away:
    they list again, and see what was deleted."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 6)
        doomed = await arena.stand_up(operator, 2)
        standby = await arena.standby(operator)
    async with arena.without(standby) as operator:
        arena.pause(standby)
        agent = arena.cluster.agents["n2"]
        arena.pause(agent)
        await until(lambda: operator.api.delete_workload(key_of(doomed)))
        await operator.scale(name, 2)
        await asyncio.sleep(1.0)
        revision = await asyncio.to_thread(arena.etcdctl.revision)
        await asyncio.to_thread(arena.etcdctl.compact, revision)
        arena.fault(f"compaction at {revision}")
        began = time.monotonic()
        standby.resume()
        agent.resume()
    async with arena.operating(standby.name) as reader:
        await reader.running(name, 2)
        await until(lambda: _is_gone(arena, doomed))
    return time.monotonic() - began


async def _is_gone(arena: Arena, name: str) -> bool:
    return not arena.living(name)


SCENARIOS = (
    Scenario(4, "abandoned writes carried out late", frozen_member_of_leader, 8.0),
    Scenario(6, "etcd's leader killed under load", killed_etcd_leader, NEW_LEASE_SECONDS),
    Scenario(
        7, "etcd's leader frozen for 10 s", frozen_etcd_leader, NEW_LEASE_SECONDS, span=Span.LONG
    ),
    Scenario(8, "a standby's member of etcd frozen", frozen_member_of_standby, 5.0, span=Span.LONG),
    Scenario(9, "etcd's majority down", lost_majority, 15.0),
    Scenario(9, "etcd's majority down, 5 min", lost_majority_for_minutes, 15.0, span=Span.MINUTES),
    Scenario(19, "compaction under stopped watchers", compaction_under_the_stopped, 10.0),
)
