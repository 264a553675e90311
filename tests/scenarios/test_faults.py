"""Whatever goes wrong, by a seed, in virtual time: safety all along, and peace when it ends."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
import pytest
from tests.support.nemesis import CONTROL_PLANE, NODES, Nemesis
from tests.support.planned_cluster import web
from tests.support.freezing import in_freezable_time
from tests.support.faulty_world import FaultyWorld

SEEDS = range(int(os.environ.get("FAULT_SEEDS", "20")))

@pytest.mark.parametrize("seed", SEEDS)
@in_freezable_time
async def test_control_plane_faults_touch_nothing_that_runs(tmp_path: Path, seed: int) -> None:
    world = FaultyWorld(tmp_path, seed=seed)
    async with world.running():
        await world.want(web(5))
        await world.until(world.runs(5))
        before = {name: world.pids(name) for name in world.machines}
        await world.suffer(Nemesis(world, random.Random(seed)), 120, CONTROL_PLANE)
        await world.settle()
        assert {name: world.pids(name) for name in world.machines} == before
    world.judge(allowed="^$")
