"""The columns of GPU nodes: what fits, what a placement takes, the profile of demands."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.scheduler.gpu.profile import DemandProfile, profile_of
from orchestrator.scheduler.gpu.table import (
    ABSENT,
    Choice,
    GpuDemand,
    distinct_devices,
    first_devices,
    table_of,
)

HALF = GpuDemand((1000,), 500, 1)
PAIR = GpuDemand((1000,), 1000, 2)


def test_a_node_with_fewer_devices_has_absent_ones() -> None:
    table = table_of([[1000, 400], [1000]], [0, 1], [[8000], [4000]])
    assert table.free.tolist() == [[1000, 400], [1000, ABSENT]]


def test_a_table_may_be_empty() -> None:
    table = table_of([], [], [])
    assert table.fits(HALF, table.rows).tolist() == []


@pytest.mark.parametrize(
    ("demand", "fits"),
    [
        (HALF, [True, True, False]),
        (PAIR, [True, False, False]),
        (GpuDemand((5000,)), [True, False, False]),
        (GpuDemand((4000,)), [True, True, True]),
        (GpuDemand((0,), 500, 1, models=0b10), [False, True, False]),
        (GpuDemand((0,), 400, 1, models=0b100), [False, False, True]),
        (GpuDemand((0,), 500, 1, models=0b1000), [False, False, False]),
        (GpuDemand((0,), 500, 1, models=0b111), [True, True, False]),
    ],
)
def test_fits_needs_devices_model_and_all_else(demand: GpuDemand, fits: list[bool]) -> None:
    table = table_of([[1000, 1000], [1000], [400]], [0, 1, 2], [[8000], [4000], [4000]])
    assert table.fits(demand, table.rows).tolist() == fits


def test_fits_answers_for_the_rows_asked() -> None:
    table = table_of([[1000], [0], [1000]], [0, 0, 0], [[8000]] * 3)
    assert table.fits(HALF, np.array([2, 1])).tolist() == [True, False]


def test_what_is_taken_can_be_given_back() -> None:
    table = table_of([[1000, 1000, 300]], [0], [[8000]])
    table.take(PAIR, Choice(0, (0, 1)))
    assert (table.free.tolist(), table.rest.tolist()) == ([[0, 0, 300]], [[7000]])
    table.give_back(PAIR, Choice(0, (0, 1)))
    assert (table.free.tolist(), table.rest.tolist()) == ([[1000, 1000, 300]], [[8000]])


def test_a_demand_without_gpu_takes_no_device() -> None:
    table = table_of([[1000]], [0], [[8000]])
    table.take(GpuDemand((500,)), Choice(0))
    assert (table.free.tolist(), table.rest.tolist()) == ([[1000]], [[7500]])


def test_first_devices_skips_those_without_room() -> None:
    free = np.array([[400, 1000, 1000, 1000], [1000, 0, ABSENT, ABSENT]])
    assert first_devices(free, PAIR).tolist() == [
        [False, True, True, False],
        [True, False, False, False],
    ]


def test_distinct_devices_names_one_of_those_with_equally_much_left() -> None:
    free = np.array([[700, 1000, 700, 1000], [400, 600, ABSENT, ABSENT]])
    rows, devices = distinct_devices(free, HALF)
    assert list(zip(rows.tolist(), devices.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1)]


def test_a_demand_accepts_any_model_or_those_of_its_bits() -> None:
    assert HALF.accepts(5)
    assert GpuDemand((0,), 500, 1, models=0b100).accepts(2)
    assert not GpuDemand((0,), 500, 1, models=0b100).accepts(1)


def test_a_profile_counts_what_is_there_and_what_has_changed() -> None:
    profile = DemandProfile()
    profile.add(HALF, 3)
    profile.add(PAIR)
    profile.remove(HALF, 2)
    profile.remove(PAIR)
    assert (profile.ordered(), profile.total, profile.changes) == ([(HALF, 1)], 1, 7)


def test_a_profile_refuses_to_lose_what_it_does_not_have() -> None:
    with pytest.raises(AssertionError, match="not added that often"):
        profile_of({HALF: 1}).remove(HALF, 2)


def test_a_profile_is_ordered_however_it_was_filled() -> None:
    assert profile_of({HALF: 2, PAIR: 1}).ordered() == profile_of({PAIR: 1, HALF: 2}).ordered()
