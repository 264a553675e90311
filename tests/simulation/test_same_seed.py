"""One seed, one history: in another process, whatever Python's hashes are there, and however
often its collector runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.simulation.scenario import Setup, simulate

SETUP = Setup(seed=26, seconds=60.0, nodes=6)
PROGRAM = f"""
import gc
import logging
import sys
import structlog
from orchestrator.simulation.scenario import Setup, simulate
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
gc.set_threshold(int(sys.argv[1]))
print(simulate({SETUP!r}).digest)
"""


def digest_in_another_process(hash_seed: str, collector_threshold: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", PROGRAM, collector_threshold]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_history_in_other_processes() -> None:
    first = digest_in_another_process("1", "700")
    second = digest_in_another_process("2", "50")
    assert first
    assert first == second


def test_another_seed_gives_another_history() -> None:
    digests = {simulate(Setup(seed, seconds=10.0, nodes=2)).digest for seed in (1, 2)}
    assert len(digests) == 2
