"""Scenarios in which there is no room left: in etcd's quota, on its disks, or on a node's."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena
from tests.support.chaos.ground import Ground
from tests.support.etcd import EtcdMember
from tests.support.operator import until

QUOTA_BYTES = 8 * 1024 * 1024
JUNK = "/junk"
JUNK_BYTES = 400_000
MAX_JUNK = 300
ENTRY_SECONDS = 2.0 * TTL_SECONDS


async def quota_reached(arena: Arena) -> float:
    """etcd takes no writes any more: nothing ends for that, and when there is room, it goes on."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 4)
        before = {life.pid for life in arena.living(name)}
        arena.fault("etcd's quota reached")
        await asyncio.to_thread(_fill_quota, arena)
        await asyncio.sleep(ENTRY_SECONDS)
        assert before == {life.pid for life in arena.living(name)}
        assert all(process.is_running for process in arena.cluster.processes)
        began = time.monotonic()
        await asyncio.to_thread(arena.etcdctl.make_room, JUNK)
        await operator.scale_once_there_is_room(name, 6)
        await arena.runs(operator, name, 6)
        return time.monotonic() - began


def _fill_quota(arena: Arena) -> None:
    for _ in range(MAX_JUNK):
        if not arena.etcdctl.put(JUNK, JUNK_BYTES):
            return
    raise AssertionError("etcd takes more than its quota")


async def full_disk_of_a_member(arena: Arena) -> float:
    """One member of etcd ends, as it must; nobody else notices for long."""
    (full, *_) = arena.etcd.members
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 3)
        await _fill_disks(arena)
        await until(lambda: _has_ended(full))
        seconds = await arena.scale(operator, name, 5)
        arena.disk.make_room()
        await asyncio.to_thread(full.start)
        return seconds


async def full_disk_of_all_members(arena: Arena) -> float:
    """All members end. What was acknowledged is there when they are started with more room."""
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 4)
        before = {life.pid for life in arena.living(name)}
        await _fill_disks(arena)
        await asyncio.sleep(ENTRY_SECONDS)
        assert before == {life.pid for life in arena.living(name)}
        arena.disk.make_room()
        began = time.monotonic()
        await arena.heal()
        await arena.scale(operator, name, 6)
        assert before <= {life.pid for life in arena.living(name)}
        return time.monotonic() - began


async def _fill_disks(arena: Arena) -> None:
    """And write until a member has ended of it: for a while there is room in what it has got."""
    arena.fault("disk full")
    arena.disk.fill()
    for number in range(MAX_JUNK):
        if not all(member.is_running for member in arena.etcd.members):
            return
        await asyncio.to_thread(arena.etcdctl.put, f"{JUNK}/{number}", JUNK_BYTES)
    raise AssertionError("etcd has more room than its disk")


async def _has_ended(member: EtcdMember) -> bool:
    return not member.is_running


async def full_disk_of_a_node(arena: Arena) -> float:
    """What runs there goes on. What cannot be started there is told, and starts when it can."""
    async with arena.operating() as operator:
        name = await arena.stand_up(operator, 4)
        before = {life.pid for life in arena.living(name)}
        arena.fault("disk of n1 full")
        arena.disk.fill()
        await operator.scale(name, 8)
        await asyncio.sleep(ENTRY_SECONDS)
        assert before <= {life.pid for life in arena.living(name)}
        assert arena.cluster.agents["n1"].is_running
        arena.disk.make_room()
        began = time.monotonic()
        await operator.running(name, 8)
        return time.monotonic() - began


QUOTA = Ground(members=1, controllers=2, etcd_flags=(f"--quota-backend-bytes={QUOTA_BYTES}",))

MEMBERS_DISK = Ground(small_disk=("etcd/m0", 200))
ETCDS_DISK = Ground(small_disk=("etcd", 640))
NODES_DISK = Ground(small_disk=("cluster/n1", 64))

SCENARIOS = (
    Scenario(24, "etcd's quota reached", quota_reached, 15.0, QUOTA),
    Scenario(
        25, "disk of one etcd full", full_disk_of_a_member, 15.0, MEMBERS_DISK, span=Span.LONG
    ),
    Scenario(
        25, "disks of all etcds full", full_disk_of_all_members, 15.0, ETCDS_DISK, span=Span.LONG
    ),
    Scenario(26, "disk of a node full", full_disk_of_a_node, 40.0, NODES_DISK, span=Span.LONG),
)
