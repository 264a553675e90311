"""Whatever goes wrong, by a seed, in virtual time: safety all along, and peace when it ends.

`FAULT_SEEDS=1000 pytest tests/scenarios/test_faults.py` looks for longer. A seed that fails does
so each time.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.model.workload import OnNodeLost
from tests.support.faulty_world import FaultyWorld
from tests.support.freezing import in_freezable_time
from tests.support.nemesis import CONTROL_PLANE, NODES, Nemesis
from tests.support.planned_cluster import web
from tests.support.virtual_time import virtual_now

SEEDS = range(int(os.environ.get("FAULT_SEEDS", "10")))
LOST = {"web": OnNodeLost.REPLACE, "db": OnNodeLost.WAIT}
NEVER = "^$"
ASKED_FOR = r"^scaled from|^the workload was deleted$| gives way to |has been unreachable for"


@asynccontextmanager
async def supervised(path: Path, seed: int, nodes: int) -> AsyncIterator[FaultyWorld]:
    world = FaultyWorld(path, seed=seed)
    async with world.running(nodes=nodes):
        supervising = asyncio.create_task(world.supervise())
        yield world
        supervising.cancel()


async def people(world: FaultyWorld, rng: random.Random, seconds: float) -> None:
    """They apply, scale, change and delete two workloads."""
    end = virtual_now() + seconds
    while virtual_now() < end:
        await asyncio.sleep(rng.uniform(0.0, 15.0))
        name = rng.choice(sorted(LOST))
        grace = rng.choice([1.0, 2.0])
        if rng.random() < 0.2:
            await world.unwant(web(name=name).key)
        else:
            replicas = rng.randrange(7)
            spec = web(replicas, name=name, on_node_lost=LOST[name], stop_grace_seconds=grace)
            await world.want(spec)


@pytest.mark.parametrize("seed", SEEDS)
@in_freezable_time
async def test_nothing_that_runs_is_touched_by_faults_of_the_control_plane(
    tmp_path: Path, seed: int
) -> None:
    async with supervised(tmp_path, seed, nodes=3) as world:
        await world.want(web(5))
        await world.until(world.runs(5))
        before = {name: world.pids(name) for name in world.machines}
        await Nemesis(world, random.Random(seed)).rage(240.0, CONTROL_PLANE)
        await world.settle()
        assert {name: world.pids(name) for name in world.machines} == before
    world.judge(allowed=NEVER)


@pytest.mark.parametrize("seed", SEEDS)
@in_freezable_time
async def test_whatever_people_want_is_what_runs_when_the_faults_end(
    tmp_path: Path, seed: int
) -> None:
    async with supervised(tmp_path, seed, nodes=4) as world:
        rng = random.Random(seed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(people(world, random.Random(seed), 280.0))
            tasks.create_task(Nemesis(world, rng).rage(300.0, (*CONTROL_PLANE, *NODES, *NODES)))
        await world.settle()
    world.judge(allowed=ASKED_FOR)
