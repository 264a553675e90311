"""Where GPU policies meet the scheduler: the nodes with GPUs as their table, and demand as profile.

A policy chooses among the nodes that fit and that the workload's own preferences put first. What
it knows of demand is all that is placed and all that is asked for now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from orchestrator.model.placement import GpuPolicyName
from orchestrator.model.resources import MILLI
from orchestrator.scheduler.facts import Column, Facts, Mask
from orchestrator.scheduler.gpu.best_fit import BestFit
from orchestrator.scheduler.gpu.expected_fill import ExpectedFill
from orchestrator.scheduler.gpu.fragmentation import FragmentationDescent
from orchestrator.scheduler.gpu.policy import GpuPolicy
from orchestrator.scheduler.gpu.profile import DemandProfile, profile_of
from orchestrator.scheduler.gpu.table import GpuDemand, GpuTable
from orchestrator.scheduler.protocol import ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Snapshot


class GpuPlacing:
    """For one call of a scheduler, on its `trial`, which it reads but does not change."""

    def __init__(
        self, name: GpuPolicyName, trial: Snapshot, requests: Sequence[ScheduleRequest]
    ) -> None:
        facts = trial.facts
        self._trial = trial
        self._rows = np.flatnonzero(facts.has_gpus)
        self._resources = facts.resources
        self._models, self._codes = facts.once("gpu models", lambda: _models(facts))
        self._table = self._read()
        self._profile = self._seen(requests)
        self._policy = _MAKERS[name](self._table, self._profile)

    def choose(self, trial: Snapshot, shape: Shape, allowed: Mask) -> tuple[int, tuple[int, ...]]:
        """The node and devices for one instance. `allowed` are nodes that have room, one at least;
        if all of those have devices of several models, the first of them is taken."""
        self._trial = trial
        self._follow()
        demand = self._demand(shape)
        choice = self._policy.choose(self._table, demand, allowed[self._rows], self._profile)
        if choice is None:
            return int(np.argmax(allowed)), ()
        return int(self._rows[choice.row]), choice.devices

    def _follow(self) -> None:
        """Let the policy know which rows have changed since it last looked."""
        now = self._read()
        differs = (now.rest != self._table.rest).any(axis=1)
        differs |= (now.free != self._table.free).any(axis=1)
        changed = np.flatnonzero(differs)
        if len(changed):
            self._table.rest[changed] = now.rest[changed]
            self._table.free[changed] = now.free[changed]
            self._policy.changed(changed.tolist())

    def _read(self) -> GpuTable:
        trial = self._trial
        columns = [trial.free[name][self._rows] for name in self._resources]
        rest = np.stack(columns, axis=1) if columns else np.zeros((len(self._rows), 0), np.int64)
        return GpuTable(trial.gpus_free[self._rows], self._codes, rest)

    def _demand(self, shape: Shape) -> GpuDemand:
        rest = tuple(shape.quantities.get(name, 0) for name in self._resources)
        need = shape.gpu
        if need is None:
            return GpuDemand(rest)
        bits = sum(1 << at for at, model in enumerate(self._models) if model in need.models)
        return GpuDemand(rest, need.milli, need.count, bits)

    def _seen(self, requests: Sequence[ScheduleRequest]) -> DemandProfile:
        """And one whole device, which somebody may always come and ask for: so that fractions
        share devices from the first on."""
        counts = Counter([GpuDemand((0,) * len(self._resources), MILLI, 1)])
        for shape, number in self._trial.gpu_shapes.items():
            counts[self._demand(shape)] += number
        for request in requests:
            if request.shape.gpu is not None:
                counts[self._demand(request.shape)] += 1
        return profile_of(counts)


def _models(facts: Facts) -> tuple[list[str], Column]:
    """All models, and which of them each node with GPUs has; a node that has several has a number
    of its own, which no demand names."""
    models = [set(node.gpus) for node in facts.nodes if node.gpus]
    known = sorted(set().union(*models))
    codes = [known.index(next(iter(each))) if len(each) == 1 else len(known) for each in models]
    return known, np.array(codes, dtype=np.int64)


def _best_fit(table: GpuTable, _profile: DemandProfile) -> GpuPolicy:
    widest = int((table.free >= 0).sum(axis=1).max(initial=1))
    return BestFit(widest * MILLI, table.rest.max(axis=0, initial=0).tolist())


_MAKERS: dict[GpuPolicyName, Callable[[GpuTable, DemandProfile], GpuPolicy]] = {
    GpuPolicyName.EXPECTED_FILL: lambda _table, _profile: ExpectedFill(),
    GpuPolicyName.FRAGMENTATION: lambda _table, profile: FragmentationDescent(profile.counts),
    GpuPolicyName.BEST_FIT: _best_fit,
}
