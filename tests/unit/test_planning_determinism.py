"""The same snapshot gives the same plan, byte for byte: in whatever order its rows were read, and
in whatever process it is made."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.model.actions import Forget, Place, Stop
from orchestrator.scheduler.protocol import Scheduler
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.busy_cluster import busy_cluster, shown_plan

ROOT = Path(__file__).parents[2]


def test_the_busy_cluster_has_something_of_every_kind_to_decide() -> None:
    made = busy_cluster().plan()
    actions = {type(action) for change in made.changes for action in change.actions}
    assert actions == {Place, Stop, Forget}
    assert len(made.unplaced) > 1
    assert len(made.waiting) > 1
    assert made.wake_at


@pytest.mark.parametrize("scheduler", [VectorScheduler(), SimpleScheduler()])
def test_the_order_in_which_rows_were_read_does_not_show(scheduler: Scheduler) -> None:
    plans = {shown_plan(random.Random(seed), scheduler) for seed in range(10)}
    assert len(plans) == 1


@pytest.mark.slow
def test_the_seed_of_hashes_does_not_show() -> None:
    plans = {_plan_of_a_process(hash_seed) for hash_seed in ("1", "2")}
    assert plans == {shown_plan(random.Random(0), VectorScheduler()) + "\n"}


def _plan_of_a_process(hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.busy_cluster"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
