"""`GpuPolicy`, and what all policies share that cost each node and take the cheapest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.table import Choice, GpuDemand, GpuTable, Ints, Mask, first_devices

NEVER = np.iinfo(np.int64).max
"""The cost of a node that does not hold the demand."""

MAX_REMEMBERED = 1024
"""Demands whose costs are kept; beyond that, the one that was not asked for longest goes."""


class GpuPolicy(Protocol):
    def choose(
        self, table: GpuTable, demand: GpuDemand, allowed: Mask | None, profile: DemandProfile
    ) -> Choice | None:
        """Where to put one instance, or None if no allowed row has room. Places nothing.

        `allowed` says which rows may be chosen, None means all. The demand itself should be in
        the profile already. Ties go to the first row. Another table than the last time (by
        identity: nodes came or went) starts afresh.
        """
        ...

    def changed(self, rows: Sequence[int]) -> None:
        """These rows of the table are no longer as they were at the last `choose`."""
        ...


class CostRule(Protocol):
    def costs(self, table: GpuTable, demand: GpuDemand, rows: Ints) -> tuple[Ints, Ints]:
        """For each of `rows`, all of which hold the demand: the cost, and the best device.

        The device matters for a count of 1 only. A row's answer may depend on nothing but that
        row: so it stands until the row changes.
        """
        ...


@dataclass(slots=True)
class _Remembered:
    """The costs of one demand, each as it was at that version of its row."""

    costs: Ints
    devices: Ints
    versions: Ints


class CostMemory:
    """The cheapest row for each demand, costing again only the rows that have changed."""

    def __init__(self, rule: CostRule) -> None:
        self._rule = rule
        self._remembered: dict[GpuDemand, _Remembered] = {}
        self._table: GpuTable | None = None
        self._versions: Ints

    def changed(self, rows: Sequence[int]) -> None:
        if self._table is not None:
            self._versions[list(rows)] += 1

    def forget(self) -> None:
        """The rule has changed: no cost stands any more. The columns do; they are filled anew."""
        if self._table is not None:
            self._versions += 1

    def cheapest(self, table: GpuTable, demand: GpuDemand, allowed: Mask | None) -> Choice | None:
        if table is not self._table:
            self._remembered.clear()
            self._table, self._versions = table, np.zeros(len(table.free), dtype=np.int64)
        if not len(table.free):
            return None
        known = self._recall(demand)
        self._refresh(known, table, demand)
        costs = known.costs if allowed is None else np.where(allowed, known.costs, NEVER)
        row = int(costs.argmin())
        if costs[row] == NEVER:
            return None
        return Choice(row, _devices(table, demand, row, int(known.devices[row])))

    def _recall(self, demand: GpuDemand) -> _Remembered:
        known = self._remembered.pop(demand, None)
        if known is None:
            rows = len(self._versions)
            costs, devices = np.full(rows, NEVER), np.zeros(rows, dtype=np.int64)
            known = _Remembered(costs, devices, np.full(rows, -1))
            if len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        self._remembered[demand] = known
        return known

    def _refresh(self, known: _Remembered, table: GpuTable, demand: GpuDemand) -> None:
        stale = np.flatnonzero(known.versions != self._versions)
        if not len(stale):
            return
        known.versions[stale] = self._versions[stale]
        known.costs[stale] = NEVER
        rows = stale[table.fits(demand, stale)]
        if len(rows):
            known.costs[rows], known.devices[rows] = self._rule.costs(table, demand, rows)


def _devices(table: GpuTable, demand: GpuDemand, row: int, device: int) -> tuple[int, ...]:
    if demand.count == 1:
        return (device,)
    chosen = first_devices(table.free[row : row + 1], demand)[0]
    return tuple(np.flatnonzero(chosen).tolist()) if demand.count else ()
