"""The seeds that every change has to survive. `orc sim` looks for longer."""

from __future__ import annotations

import pytest

from orchestrator.simulation.scenario import Setup, simulate

SEEDS = 200
A_CHUNK = 10
"""So many share one test: few enough that workers share them evenly."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, SEEDS, A_CHUNK))
def test_no_promise_is_broken_whatever_happens(first: int) -> None:
    for seed in range(first, first + A_CHUNK):
        verdict = simulate(Setup(seed))
        assert not verdict.findings, verdict.story()


def test_hundreds_of_nodes_are_simulated_alike() -> None:
    verdict = simulate(Setup(seed=1, seconds=30.0, nodes=200))
    assert not verdict.findings, verdict.story()
    assert verdict.runs
