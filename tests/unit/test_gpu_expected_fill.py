"""The default GPU policy: what a gap is worth, and what follows for where to place."""

from __future__ import annotations

import random

import numpy as np
import pytest

from orchestrator.scheduler.gpu.expected_fill import ExpectedFill
from orchestrator.scheduler.gpu.policy import CostMemory
from orchestrator.scheduler.gpu.profile import DemandProfile, profile_of
from orchestrator.scheduler.gpu.table import WHOLE, Choice, GpuDemand, GpuTable, table_of
from orchestrator.scheduler.gpu.worth import CELL, CELLS, OFFERS, UNIT, worth_of

SMALL = GpuDemand((1000, 1000), 190, 1)
HALF = GpuDemand((1000, 1000), 500, 1)
LARGE = GpuDemand((1000, 1000), 810, 1)
ONE = GpuDemand((10_000, 1000), 1000, 1)
LEAN = GpuDemand((1000, 1000), 1000, 1)
NO_GPU = GpuDemand((6000, 1000))


def one_model() -> GpuTable:
    return table_of([[1000]], [0], [[96_000, 96_000]])


def slow_worth(gap: int, seen: dict[GpuDemand, int], prices: tuple[float, float]) -> float:
    """The recursion as it is written in the theory, for a single model."""
    rates = {demand: number * demand.count for demand, number in seen.items() if demand.count}
    numerator, denominator = 0.0, sum(rates.values()) / OFFERS
    for demand, rate in rates.items():
        if demand.gpu_milli <= gap:
            cost = sum(p * r for p, r in zip(prices, demand.rest, strict=True)) / demand.count
            later = slow_worth(gap - demand.gpu_milli, seen, prices)
            numerator += rate * (demand.gpu_milli - cost + later)
            denominator += rate
    return max(0.0, numerator / denominator)


def test_worth_follows_the_recursion() -> None:
    seen = {SMALL: 2, HALF: 7, LARGE: 5, ONE: 9, GpuDemand((40_000, 9), 1000, 8): 1, NO_GPU: 4}
    worth = worth_of(list(seen.items()), one_model())
    assert len(worth.prices) > 3
    for vector, gaps in zip(worth.prices, worth.gaps, strict=True):
        prices = (vector[0] / UNIT, vector[1] / UNIT)
        for gap in (0, 180, 190, 500, 690, 810, 1000):
            assert gaps[gap // CELL] / UNIT == pytest.approx(
                slow_worth(gap, seen, prices), abs=1e-6
            )


def test_nothing_is_worth_anything_to_demand_without_gpu() -> None:
    worth = worth_of([(NO_GPU, 3)], one_model())
    assert worth.prices.tolist() == [[0, 0]]
    assert not worth.gaps.any()


def test_a_gap_is_worth_nothing_on_models_that_nobody_accepts() -> None:
    table = table_of([[1000], [1000]], [0, 1], [[96_000, 96_000]] * 2)
    only_second = GpuDemand((1000, 1000), 500, 1, models=0b10)
    nowhere = GpuDemand((1000, 1000), 500, 1, models=0b100)
    gaps = worth_of([(only_second, 3), (nowhere, 2)], table).gaps.reshape(-1, 2, CELLS + 1)
    assert not gaps[:, 0].any()
    assert (gaps[0, 1, 50:] > 0).all()


def test_plenty_of_a_resource_that_hardly_anyone_needs_does_not_overflow() -> None:
    plenty = 1 << 60
    worth = worth_of([(GpuDemand((1, 1), 1000, 8), 1)], one_model())
    assert worth.prices.max() == 8000 * UNIT
    totals = worth.of_rest(np.array([[plenty, plenty], [7, 0]]))
    assert totals.min() == 0
    assert totals.max() > WHOLE * UNIT * 1000
    assert totals[:, 1].tolist() == [7 * cpu for cpu, _ in worth.prices.tolist()]


def learned(seen: dict[GpuDemand, int], table: GpuTable, demand: GpuDemand) -> Choice | None:
    return ExpectedFill().choose(table, demand, None, profile_of(seen))


def test_a_small_demand_goes_into_the_gap_that_nobody_else_can_use() -> None:
    table = table_of([[1000], [500], [190]], [0] * 3, [[96_000, 96_000]] * 3)
    assert learned({HALF: 50, LARGE: 50, SMALL: 1}, table, SMALL) == Choice(2, (0,))


def test_halves_are_paired() -> None:
    table = table_of([[1000, 500]], [0], [[96_000, 96_000]])
    assert learned({HALF: 9, ONE: 9}, table, HALF) == Choice(0, (1,))


def test_what_has_no_gpu_goes_where_the_cpu_could_not_feed_the_gpus_anyway() -> None:
    rich, poor = [90_000, 96_000], [12_000, 96_000]
    table = table_of([[1000], [1000]], [0, 0], [poor, rich])
    assert learned({ONE: 9, NO_GPU: 3}, table, NO_GPU) == Choice(1)


def test_a_lean_demand_goes_where_cpu_is_scarce() -> None:
    scarce, plenty = [2000, 96_000], [90_000, 96_000]
    table = table_of([[1000], [1000]], [0, 0], [plenty, scarce])
    assert learned({ONE: 9, LEAN: 3}, table, LEAN) == Choice(1, (0,))


def test_a_model_that_others_depend_on_is_left_to_them() -> None:
    bound = GpuDemand((1000, 1000), 1000, 1, models=0b1)
    table = table_of([[1000], [1000], [1000]], [0, 1, 1], [[96_000, 96_000]] * 3)
    assert learned({bound: 5, LEAN: 5}, table, LEAN) == Choice(1, (0,))


def test_it_learns_again_when_demand_has_grown_fourfold() -> None:
    table = table_of([[1000], [500], [190]], [0] * 3, [[96_000, 96_000]] * 3)
    policy, profile = ExpectedFill(), profile_of({SMALL: 1})
    first = policy.choose(table, SMALL, None, profile)
    profile.add(HALF, 2)
    assert policy.choose(table, SMALL, None, profile) == first
    profile.add(HALF)
    assert policy.choose(table, SMALL, None, profile) == Choice(2, (0,))


def random_demand(rng: random.Random) -> GpuDemand:
    rest = (rng.randrange(1, 9) * 1000, rng.randrange(1, 9) * 1000)
    count = rng.choice((0, 1, 1, 1, 1, 2, 4))
    gpu = rng.choice((155, 190, 320, 470, 810, 1000)) if count == 1 else 1000 * bool(count)
    return GpuDemand(rest, gpu, count, rng.choice((0, 0, 0b1, 0b110)))


@pytest.mark.parametrize("seed", range(5))
def test_remembered_costs_equal_those_computed_afresh(seed: int) -> None:
    rng = random.Random(seed)
    gpus = [[1000] * rng.randrange(1, 9) for _ in range(30)]
    rest = [[rng.randrange(8, 96) * 1000, 96_000] for _ in gpus]
    table = table_of(gpus, [rng.randrange(3) for _ in gpus], rest)
    demands = [random_demand(rng) for _ in range(12)]
    policy, profile = ExpectedFill(), DemandProfile()
    placed: list[tuple[GpuDemand, Choice]] = []
    for _ in range(400):
        demand = rng.choice(demands)
        profile.add(demand)
        choice = policy.choose(table, demand, None, profile)
        assert choice == CostMemory(policy).cheapest(table, demand, None)
        if choice is not None:
            table.take(demand, choice)
            policy.changed([choice.row])
            placed.append((demand, choice))
        if placed and rng.random() < 0.3:
            gone, where = placed.pop(rng.randrange(len(placed)))
            table.give_back(gone, where)
            policy.changed([where.row])
    assert (table.free >= -1).all()


def test_the_same_profile_and_table_give_the_same_choice_in_any_order() -> None:
    seen = {HALF: 3, LARGE: 2, ONE: 4, LEAN: 1, NO_GPU: 2}
    backwards = dict(reversed(seen.items()))
    for demand in seen:
        table = table_of([[1000] * 2, [500, 1000]], [0, 1], [[30_000, 96_000]] * 2)
        assert learned(seen, table, demand) == learned(backwards, table, demand)
