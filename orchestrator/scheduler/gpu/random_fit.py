"""`RandomFit`: any row that has room, any device that has room; what others are measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.table import Choice, GpuDemand, GpuTable, Mask, first_devices


class RandomFit:
    """`luck` gives integers of at least 0, evenly spread and far more than there are rows."""

    def __init__(self, luck: Callable[[], int]) -> None:
        self._luck = luck

    def choose(
        self, table: GpuTable, demand: GpuDemand, allowed: Mask | None, profile: DemandProfile
    ) -> Choice | None:
        fits = table.fits(demand, table.rows)
        rows = np.flatnonzero(fits if allowed is None else fits & allowed)
        if not len(rows):
            return None
        row = int(rows[self._luck() % len(rows)])
        free = table.free[row]
        if demand.count == 1:
            devices = np.flatnonzero(free >= demand.gpu_milli)
            return Choice(row, (int(devices[self._luck() % len(devices)]),))
        chosen = first_devices(free[None], demand)[0]
        return Choice(row, tuple(np.flatnonzero(chosen).tolist()))

    def changed(self, rows: Sequence[int]) -> None:
        """Nothing is remembered."""
