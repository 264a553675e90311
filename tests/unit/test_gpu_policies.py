"""The policies of the literature, on clusters small enough to see, and against slow references."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from orchestrator.scheduler.gpu.best_fit import BestFit
from orchestrator.scheduler.gpu.expected_fill import ExpectedFill
from orchestrator.scheduler.gpu.fragmentation import FragmentationDescent, typical_of
from orchestrator.scheduler.gpu.policy import CostMemory, GpuPolicy
from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.random_fit import RandomFit
from orchestrator.scheduler.gpu.table import Choice, GpuDemand, GpuTable, Ints, table_of

NOTHING_SEEN = DemandProfile()
HALF = GpuDemand((1000,), 500, 1)
WHOLE_ONE = GpuDemand((1000,), 1000, 1)
PAIR = GpuDemand((1000,), 1000, 2)
NO_GPU = GpuDemand((1000,))
SOME = {HALF: 5, WHOLE_ONE: 3, PAIR: 1, NO_GPU: 2}


def in_turn(*numbers: int) -> Callable[[], int]:
    left = iter(numbers)
    return lambda: next(left)


ALL: list[Callable[[], GpuPolicy]] = [
    lambda: RandomFit(lambda: 7),
    lambda: BestFit(8000, (128_000,)),
    lambda: FragmentationDescent(SOME),
    ExpectedFill,
]


def small_table() -> GpuTable:
    return table_of([[1000, 1000, 300], [600], [1000, 1000]], [0, 0, 1], [[8000]] * 3)


@pytest.mark.parametrize("make", ALL)
def test_every_policy_places_on_devices_with_room(make: Callable[[], GpuPolicy]) -> None:
    for demand in SOME:
        table = small_table()
        choice = make().choose(table, demand, None, NOTHING_SEEN)
        assert choice is not None
        assert len(choice.devices) == demand.count
        table.take(demand, choice)
        assert table.free.min() >= -1
        assert (table.free[small_table().free >= 0] >= 0).all()


@pytest.mark.parametrize("make", ALL)
def test_every_policy_says_when_nothing_fits(make: Callable[[], GpuPolicy]) -> None:
    too_many = GpuDemand((0,), 1000, 3)
    assert make().choose(small_table(), too_many, None, NOTHING_SEEN) is None
    assert make().choose(table_of([], [], []), HALF, None, NOTHING_SEEN) is None


@pytest.mark.parametrize("make", ALL)
def test_every_policy_keeps_to_the_rows_allowed(make: Callable[[], GpuPolicy]) -> None:
    policy, table = make(), small_table()
    for row in range(3):
        choice = policy.choose(table, HALF, np.arange(3) == row, NOTHING_SEEN)
        assert choice is not None
        assert choice.row == row
    assert policy.choose(table, HALF, np.zeros(3, dtype=bool), NOTHING_SEEN) is None


@pytest.mark.parametrize("make", ALL)
def test_every_policy_sees_what_has_changed(make: Callable[[], GpuPolicy]) -> None:
    policy, table = make(), table_of([[1000], [1000]], [0, 0], [[8000]] * 2)
    policy.changed([0])
    rows = []
    for _ in range(2):
        choice = policy.choose(table, WHOLE_ONE, None, NOTHING_SEEN)
        assert choice is not None
        table.take(WHOLE_ONE, choice)
        policy.changed([choice.row])
        rows.append(choice.row)
    assert sorted(rows) == [0, 1]
    assert policy.choose(table, WHOLE_ONE, None, NOTHING_SEEN) is None
    larger = table_of([[0], [0], [1000]], [0] * 3, [[8000]] * 3)
    assert policy.choose(larger, WHOLE_ONE, None, NOTHING_SEEN) == Choice(2, (0,))


def test_random_fit_goes_where_luck_says() -> None:
    table = small_table()
    assert RandomFit(in_turn(4, 3)).choose(table, HALF, None, NOTHING_SEEN) == Choice(1, (0,))
    assert RandomFit(in_turn(2, 3)).choose(table, HALF, None, NOTHING_SEEN) == Choice(2, (1,))
    assert RandomFit(in_turn(1)).choose(table, PAIR, None, NOTHING_SEEN) == Choice(2, (0, 1))


def test_best_fit_takes_the_fullest_node_then_the_fullest_device() -> None:
    table = table_of([[1000] * 4, [1000, 700, 500]], [0, 0], [[8000]] * 2)
    best_fit = BestFit(8000, (128_000,))
    assert best_fit.choose(table, HALF, None, NOTHING_SEEN) == Choice(1, (2,))
    assert best_fit.choose(table, PAIR, None, NOTHING_SEEN) == Choice(0, (0, 1))


def test_best_fit_leaves_out_what_has_no_scale() -> None:
    table = table_of([[1000, 1000], [1000]], [0, 0], [[1000], [100_000]])
    assert BestFit(8000, (0,)).choose(table, HALF, None, NOTHING_SEEN) == Choice(1, (0,))
    assert BestFit(8000, (100_000,)).choose(table, HALF, None, NOTHING_SEEN) == Choice(0, (0,))


def test_typical_demands_are_the_most_frequent() -> None:
    counts = {HALF: 90, WHOLE_ONE: 6, PAIR: 4}
    assert typical_of(counts) == [(HALF, 90), (WHOLE_ONE, 6)]


def test_fragmentation_fills_a_broken_device_before_a_whole_one() -> None:
    table = table_of([[1000], [500]], [0, 0], [[8000]] * 2)
    policy = FragmentationDescent({WHOLE_ONE: 1, HALF: 1})
    assert policy.choose(table, HALF, None, NOTHING_SEEN) == Choice(1, (0,))


def test_fragmentation_agrees_with_a_slow_reference() -> None:
    rng = random.Random(5)
    for _ in range(60):
        table = random_table(rng)
        counts = {random_demand(rng): rng.randrange(1, 9) for _ in range(6)}
        policy = FragmentationDescent(counts)
        demand = random_demand(rng)
        assert policy.choose(table, demand, None, NOTHING_SEEN) == slow_choice(
            table, demand, counts
        )


def random_table(rng: random.Random) -> GpuTable:
    gpus = [[rng.choice((0, 200, 500, 1000, 1000))] * rng.randrange(1, 5) for _ in range(6)]
    models = [rng.randrange(3) for _ in gpus]
    return table_of(gpus, models, [[rng.randrange(0, 9000), rng.randrange(0, 900)] for _ in gpus])


def random_demand(rng: random.Random) -> GpuDemand:
    rest = (rng.randrange(0, 5000), rng.randrange(0, 500))
    count = rng.choice((0, 1, 1, 1, 2))
    gpu = rng.choice((200, 300, 500, 1000)) if count == 1 else 1000 * bool(count)
    return GpuDemand(rest, gpu, count, rng.choice((0, 0, 0b1, 0b110)))


def slow_fragments(
    free: list[int], rest: list[int], model: int, counts: Mapping[GpuDemand, int]
) -> float:
    total = 0.0
    for typical, number in counts.items():
        holding = [gap for gap in free if gap >= typical.gpu_milli]
        can_run = len(holding) >= typical.count > 0 and typical.accepts(model)
        can_run = can_run and all(a >= b for a, b in zip(rest, typical.rest, strict=True))
        total += number * (sum(free) - sum(holding) * can_run)
    return total / sum(counts.values())


def slow_choice(
    table: GpuTable, demand: GpuDemand, counts: Mapping[GpuDemand, int]
) -> Choice | None:
    """By the paper's definition, one node and device after the other."""
    typical = dict(typical_of(counts))
    best: tuple[int, Choice | None] = (-1, None)
    for row in np.flatnonzero(table.fits(demand, table.rows)).tolist():
        free = [gap for gap in table.free[row].tolist() if gap >= 0]
        rest, model = table.rest[row].tolist(), int(table.model[row])
        left = [a - b for a, b in zip(rest, demand.rest, strict=True)]
        roomy = [device for device, gap in enumerate(free) if gap >= demand.gpu_milli]
        options: list[tuple[int, ...]] = [(device,) for device in roomy]
        if demand.count != 1:
            options = [tuple(roomy[: demand.count])]
        for devices in options:
            after = [gap - demand.gpu_milli * (at in devices) for at, gap in enumerate(free)]
            before = slow_fragments(free, rest, model, typical)
            grown = (slow_fragments(after, left, model, typical) - before) / 1000
            score = int(100 / (1 + math.exp(grown)))
            if score > best[0]:
                best = (score, Choice(row, devices))
    return best[1]


def test_a_demand_not_asked_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.scheduler.gpu.policy.MAX_REMEMBERED", 2)
    costed: list[GpuDemand] = []

    class Rule(BestFit):
        def costs(self, table: GpuTable, demand: GpuDemand, rows: Ints) -> tuple[Ints, Ints]:
            costed.append(demand)
            return super().costs(table, demand, rows)

    memory, table = CostMemory(Rule(8000, (128_000,))), small_table()
    for demand in (HALF, PAIR, HALF, WHOLE_ONE, HALF, PAIR):
        assert memory.cheapest(table, demand, None) is not None
    assert costed == [HALF, PAIR, WHOLE_ONE, PAIR]
