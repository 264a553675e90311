"""One seed, one history: in another process, whatever Python's hashes are there, however often its
collector runs, and whatever it has simulated before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.simulation.scenario import Setup, simulate

SETUP = Setup(seed=26, seconds=60.0, nodes=6)
EVENTFUL = Setup(seed=5007)
BEFORE = Setup(seed=5006)
PROGRAM = """
import gc
import logging
import sys
import structlog
from orchestrator.simulation.scenario import Setup, simulate
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
gc.set_threshold(int(sys.argv[1]))
for setup in sys.argv[2:]:
    print(simulate(eval(setup)).digest)
"""


def digests_in_another_process(
    *setups: Setup, hash_seed: str = "1", collector_threshold: str = "700"
) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PROGRAM, collector_threshold, *map(repr, setups)]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return told.stdout.split()


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_history_in_other_processes() -> None:
    (first,) = digests_in_another_process(SETUP)
    (second,) = digests_in_another_process(SETUP, hash_seed="2", collector_threshold="50")
    assert first == second


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_history_after_others() -> None:
    """asyncio keeps tasks in sets, whose order is by where the tasks lie in memory."""
    (alone,) = digests_in_another_process(EVENTFUL)
    _, after = digests_in_another_process(BEFORE, EVENTFUL)
    assert alone == after


def test_another_seed_gives_another_history() -> None:
    digests = {simulate(Setup(seed, seconds=10.0, nodes=2)).digest for seed in (1, 2)}
    assert len(digests) == 2
