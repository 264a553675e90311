"""Real faults on real processes: whatever is done to a cluster, no promise of it is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest.mark import ParameterSet

from tests.chaos.at_random import SECONDS as RANDOM_SECONDS
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.conftest import SEED
from tests.chaos.scenario import Scenario, Span, carry_out
from tests.support.chaos.arena import Arena
from tests.support.chaos.ground import Ground

LIMIT_SECONDS = 240.0
LONG_LIMIT_SECONDS = 900.0


def _case(scenario: Scenario) -> ParameterSet:
    is_short = scenario.span is Span.SHORT
    limit = RANDOM_SECONDS + (LIMIT_SECONDS if is_short else LONG_LIMIT_SECONDS)
    marks = [pytest.mark.timeout(limit), *([] if is_short else [pytest.mark.chaos])]
    return pytest.param(scenario, id=scenario.name, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [_case(each) for each in SCENARIOS])
async def test_nothing_lost_and_nothing_doubled(
    scenario: Scenario, enter: Callable[[Ground], Arena]
) -> None:
    """Which faults were drawn, `make chaos SEED=...` draws again; not when they hit what."""
    arena = enter(scenario.ground)
    outcome = await carry_out(scenario, arena)
    assert outcome.violations == (), f"seed {SEED}: {arena.deeds.faults}"
    assert outcome.faults > 0
