"""`FragmentationDescent`: the row and device where fragmentation grows least (FGD).

After Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent" (USENIX ATC 2023), with what the authors' simulator adds to the paper: the
typical demands are the most frequent ones that make up 95 % of all, and the growth goes through
a sigmoid into whole percent, so that near ties are ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.scheduler.gpu.policy import CostMemory
from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.table import (
    WHOLE,
    Choice,
    GpuDemand,
    GpuTable,
    Ints,
    Mask,
    distinct_devices,
    first_devices,
)

POPULAR_PERCENT = 95
GRADES = 100


def typical_of(counts: Mapping[GpuDemand, int]) -> list[tuple[GpuDemand, int]]:
    """The most frequent demands, until they make up POPULAR_PERCENT of all."""
    wanted = sum(counts.values()) * POPULAR_PERCENT
    typical: list[tuple[GpuDemand, int]] = []
    covered = 0
    for demand, number in sorted(counts.items(), key=lambda each: (each[1], each[0]), reverse=True):
        if covered * 100 >= wanted:
            break
        typical.append((demand, number))
        covered += number
    return typical


class FragmentationDescent:
    """`counts` is the distribution of demands, known beforehand as in the paper."""

    def __init__(self, counts: Mapping[GpuDemand, int]) -> None:
        typical = typical_of(counts)
        asking = [(demand, number) for demand, number in typical if demand.count]
        self._weights = np.array([number for _, number in asking], dtype=np.int64)
        self._all_weights = sum(number for _, number in typical)
        self._rest = np.array([demand.rest for demand, _ in asking], dtype=np.int64)
        self._counts = np.array([demand.count for demand, _ in asking], dtype=np.int64)
        self._models = np.array([demand.models for demand, _ in asking], dtype=np.int64)
        sizes = [demand.gpu_milli for demand, _ in asking]
        self._sizes, self._size_of = np.unique(np.array(sizes, dtype=np.int64), return_inverse=True)
        self._memory = CostMemory(self)

    def choose(
        self, table: GpuTable, demand: GpuDemand, allowed: Mask | None, profile: DemandProfile
    ) -> Choice | None:
        return self._memory.cheapest(table, demand, allowed)

    def changed(self, rows: Sequence[int]) -> None:
        self._memory.changed(rows)

    def costs(self, table: GpuTable, demand: GpuDemand, rows: Ints) -> tuple[Ints, Ints]:
        free, rest, model = table.free[rows], table.rest[rows], table.model[rows]
        before = self._fragments(free, rest, model)
        left = rest - demand.rest
        if demand.count != 1:
            after = free - demand.gpu_milli * first_devices(free, demand)
            grown = self._fragments(after, left, model) - before
            return -self._grade(grown), np.zeros(len(rows), dtype=np.int64)
        row, device = distinct_devices(free, demand)
        after = free[row]
        after[np.arange(len(row)), device] -= demand.gpu_milli
        grown = self._fragments(after, left[row], model[row]) - before[row]
        grades = np.full(free.shape, -1)
        grades[row, device] = self._grade(grown)
        return -grades.max(axis=1), grades.argmax(axis=1)

    def _fragments(self, free: Ints, rest: Ints, model: Ints) -> Ints:
        """Milli-units, summed over the typical demands by weight, that each cannot use."""
        usable, devices = self._usable(free)
        fits = devices[:, self._size_of] >= self._counts
        fits &= (self._models == 0) | (self._models >> model[:, None] & 1).astype(np.bool_)
        for column in range(rest.shape[1]):
            fits &= rest[:, column, None] >= self._rest[:, column]
        whole = free.clip(min=0).sum(axis=1) * self._all_weights
        fragments: Ints = whole - (usable[:, self._size_of] * fits * self._weights).sum(axis=1)
        return fragments

    def _usable(self, free: Ints) -> tuple[Ints, Ints]:
        """[rows, sizes]: the milli-units on devices with at least that size left, and how many
        such devices there are."""
        width = len(self._sizes) + 1
        sizes_held = np.searchsorted(self._sizes, free, side="right")
        places = (np.arange(len(free))[:, None] * width + sizes_held).ravel()
        at_least = []
        for weights in (free.ravel(), np.ones(free.size)):
            sums = np.bincount(places, weights=weights, minlength=len(free) * width)
            summed = sums.reshape(-1, width)[:, :0:-1].cumsum(axis=1)[:, ::-1]
            at_least.append(summed.astype(np.int64))
        return at_least[0], at_least[1]

    def _grade(self, grown: Ints) -> Ints:
        devices = grown / (WHOLE * self._all_weights)
        grade: Ints = (GRADES / (1 + np.exp(devices))).astype(np.int64)
        return grade
