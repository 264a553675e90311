"""I11 by itself: while only the control plane is in trouble, not one process is touched."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from orchestrator.simulation.faulty_world import FaultyWorld
from orchestrator.simulation.nemesis import CONTROL_PLANE, Nemesis
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time

NEVER = "^$"


@pytest.mark.parametrize("seed", range(10))
@in_virtual_time
async def test_nothing_that_runs_is_touched_by_faults_of_the_control_plane(
    tmp_path: Path, seed: int
) -> None:
    world = FaultyWorld(tmp_path, seed=seed, allowed=NEVER)
    async with world.running(nodes=3):
        supervising = asyncio.create_task(world.supervise())
        await world.want(web(5))
        await world.until(world.runs(5))
        before = {name: world.pids(name) for name in world.machines}
        await Nemesis(world, random.Random(seed)).rage(240.0, CONTROL_PLANE)
        await world.settle()
        assert {name: world.pids(name) for name in world.machines} == before
        supervising.cancel()
    assert not world.judge.findings, world.judge.findings[0]
