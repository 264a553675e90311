"""`BestFit`: the row that has the least left afterwards, the fullest device in it.

After the policy of that name in Weng et al., "Beware of Fragmentation" (USENIX ATC 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.scheduler.gpu.policy import NEVER, CostMemory
from orchestrator.scheduler.gpu.profile import DemandProfile
from orchestrator.scheduler.gpu.table import Choice, GpuDemand, GpuTable, Ints, Mask

GRADES = 100
"""What is left is told in whole percent, as a kube-scheduler's score is."""


class BestFit:
    """Weighs all resources that have a scale alike; the scale is what a large node has.

    `rest_scales` are in the table's order; a scale of 0 leaves that resource out.
    """

    def __init__(self, gpu_scale: int, rest_scales: Sequence[int]) -> None:
        self._gpu_scale = gpu_scale
        self._rest_scales = rest_scales
        self._memory = CostMemory(self)

    def choose(
        self, table: GpuTable, demand: GpuDemand, allowed: Mask | None, profile: DemandProfile
    ) -> Choice | None:
        return self._memory.cheapest(table, demand, allowed)

    def changed(self, rows: Sequence[int]) -> None:
        self._memory.changed(rows)

    def costs(self, table: GpuTable, demand: GpuDemand, rows: Ints) -> tuple[Ints, Ints]:
        free = table.free[rows]
        left = (free.clip(min=0).sum(axis=1) - demand.gpu_total) / self._gpu_scale
        weights = 1
        for column, scale in enumerate(self._rest_scales):
            if scale:
                left += (table.rest[rows, column] - demand.rest[column]) / scale
                weights += 1
        grade = ((1 - left / weights) * GRADES).astype(np.int64)
        fullest = np.where(free >= demand.gpu_milli, free, NEVER).argmin(axis=1)
        return -grade, fullest
