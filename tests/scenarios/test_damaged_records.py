"""Records damaged by hand, of every kind, in a busy cluster: nothing healthy is stopped, nobody
dies of it, the others' work goes on; and once the rows are repaired all is as it was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.controller.quarantine import DAMAGED, REPAIRED
from orchestrator.model.keys import Kind
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from store.values import DeleteOp, KeyValue, PutOp, RangeOp, Txn, prefix_end
from tests.scenarios.cutting import pids
from tests.support.damage import edited, is_readable, junk, strange_key

NAMES = ("web", "db", "jobs")
ROUNDS = 8


@asynccontextmanager
async def busy(path: Path, seed: int) -> AsyncIterator[World]:
    """Nobody in it may end by himself."""
    world = World(path, seed=seed)
    async with world.running(controllers=3, nodes=3):
        for name in NAMES:
            await world.apply(replace(web(2), name=name))
        await world.until(world.runs(2 * len(NAMES)))
        await asyncio.sleep(5)
        try:
            yield world
        finally:
            lives = [*world.controllers.values(), *(each.life for each in world.machines.values())]
            ended = [each for each in lives if each is not None and each.done()]
            for each in ended:
                raise each.exception() or AssertionError("it has ended")


async def rows(world: World) -> dict[str, KeyValue]:
    root = world.keys.root
    found = await world.store.connect("people").range(RangeOp(root, prefix_end(root)))
    return {kv.key: kv for kv in found.kvs}


async def put(world: World, key: str, value: bytes) -> None:
    await world.store.connect("people").txn(Txn(success=(PutOp(key, value),)))


async def drop(world: World, key: str) -> None:
    await world.store.connect("people").txn(Txn(success=(DeleteOp(key),)))


async def spoil_some(world: World, rng: random.Random) -> dict[str, bytes | None]:
    """What it was before, by key; None: it was not there."""
    was: dict[str, bytes | None] = {}
    for key, kv in rng.sample(sorted((await rows(world)).items()), 3):
        if is_readable(world.keys, key, kv.value):
            was[key] = kv.value
            await put(world, key, junk(world.keys, key, kv.value, rng))
        strange = strange_key(world.keys.root, key, rng)
        was[strange] = None
        await put(world, strange, kv.value)
    return was


async def repair(world: World, was: dict[str, bytes | None]) -> None:
    """As people would: what others have written anew by then is in order."""
    for key in sorted(was.keys() & world.state.damaged.keys()):
        value = was[key]
        await (drop(world, key) if value is None else put(world, key, value))


@pytest.mark.parametrize("seed", range(6))
def test_what_cannot_be_read_stops_nothing_and_holds_up_nobody(seed: int, tmp_path: Path) -> None:
    @in_virtual_time
    async def run() -> None:
        rng = random.Random(seed)
        async with busy(tmp_path, seed) as world:
            before = pids(world)
            was: dict[str, bytes | None] = {}
            for _ in range(ROUNDS):
                was = {**await spoil_some(world, rng), **was}
                await asyncio.sleep(rng.uniform(0, 20))
            other = replace(web(2), name="other")
            await world.apply(other)
            await world.until(lambda: len(world.state.places_of(other.key)) == 2)
            await asyncio.sleep(60)
            assert all(before[node].items() <= now.items() for node, now in pids(world).items())
            await repair(world, was)
            await world.until(lambda: not world.state.damaged)
            await world.until(world.runs(8), within=120.0)
            assert all(before[node].items() <= now.items() for node, now in pids(world).items())

    run()


@pytest.mark.parametrize("seed", range(6))
def test_what_can_be_read_but_makes_no_sense_kills_nobody(seed: int, tmp_path: Path) -> None:
    """Whoever edits a row gives an order: it may be carried out, and taken back."""

    @in_virtual_time
    async def run() -> None:
        rng = random.Random(seed)
        async with busy(tmp_path, seed) as world:
            for _ in range(4 * ROUNDS):
                key, kv = rng.choice(sorted((await rows(world)).items()))
                if kv.key != world.keys.schema:
                    await put(world, key, edited(kv.value, rng))
                await asyncio.sleep(rng.uniform(0, 10))
            kept = (world.keys.folder(Kind.EVENT), world.keys.schema, world.keys.leader)
            for key in await rows(world):
                if not key.startswith(kept):
                    await drop(world, key)
            await asyncio.sleep(60)
            for name in NAMES:
                await world.apply(replace(web(2), name=name))
            await world.until(world.runs(2 * len(NAMES)), within=300.0)

    run()


@in_virtual_time
async def test_each_kind_of_damage_is_told_with_what_to_do_and_so_is_its_end(
    tmp_path: Path,
) -> None:
    async with busy(tmp_path, 1) as world:
        there = await rows(world)
        kept = {Kind.SCHEMA, Kind.WORKLOAD, Kind.REVISION, Kind.ASSIGNMENT, Kind.WORKLOAD_STATUS}
        for kind in kept:
            key = min(each for each in there if world.keys.parse(each).kind is kind)
            await require_told(world, key, there[key].value)


async def require_told(world: World, key: str, value: bytes) -> None:
    await put(world, key, b"nonsense")
    await world.until(lambda: key in world.state.damaged)
    sentence = world.state.damaged[key].sentence
    await world.until(lambda: sentence in told(world, DAMAGED))
    await put(world, key, value)
    await world.until(lambda: any(key in each for each in told(world, REPAIRED)))


def told(world: World, kind: str) -> set[str]:
    events = (entry.record for entry in world.state.events.values())
    return {event.reason for event in events if event.kind == kind}


@in_virtual_time
async def test_a_leader_whose_row_was_spoilt_is_followed_by_another_when_it_dies(
    tmp_path: Path,
) -> None:
    async with busy(tmp_path, 1) as world:
        epoch = world.state.leader.create_revision if world.state.leader else 0
        for name in (world.leader, ""):
            await put(world, world.keys.leader, b"nonsense")
            if name:
                await asyncio.sleep(1)
                await world.kill_controller(name)
        await world.until(
            lambda: world.state.leader is not None and world.state.leader.create_revision > epoch
        )
