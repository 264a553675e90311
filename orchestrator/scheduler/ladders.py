"""How many instances must give way at the least, on all nodes at once: so that most nodes need
not be looked at one by one.

A node's *ladder* for a resource has the sums of the largest claims that could go: of the largest,
of the two largest, and so on. Where the third rung is the first that reaches a shortage, three is
a lower bound, whichever they are. Of one workload no more are on it than its budget allows: where
budgets are used up, nodes are passed over without a look at them.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.resources import GPU
from orchestrator.scheduler.facts import Column, Mask, bounded
from orchestrator.scheduler.feasibility import fitting_gpus
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Claim, Snapshot

RUNGS = 25


class Ladders:
    """Of the claims of one snapshot. GPUs are counted in devices that a claim holds any of."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._nodes = len(snapshot.facts)
        staying = [
            (at, claim)
            for at, held in enumerate(snapshot.claims)
            for claim in held.values()
            if not claim.is_leaving
        ]
        self._claims = [claim for _, claim in staying]
        self._places = np.array([at for at, _ in staying], dtype=np.int64)
        self._ranks = np.array([each.shape.priority.rank for each in self._claims], dtype=np.int64)
        workloads = {each.shape.workload: at for at, each in enumerate(self._claims)}
        budgets = {each: snapshot.budget(each) for each in workloads}
        self._workloads = np.array(
            [workloads[each.shape.workload] for each in self._claims], dtype=np.int64
        )
        self._budgets = np.array(
            [_at_most(budgets[each.shape.workload]) for each in self._claims], dtype=np.int64
        )
        self._known: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._going: dict[str, Column] = defaultdict(lambda: np.zeros(self._nodes, dtype=np.int64))
        for at, held in enumerate(snapshot.claims):
            for claim in held.values():
                if claim.is_leaving:
                    self.let_go(at, claim)

    def let_go(self, at: int, claim: Claim) -> None:
        """It leaves the node for certain. The ladders keep it: as bounds, they stay true."""
        for name in (*claim.shape.quantities, GPU):
            self._going[name][at] += _held(claim, name)

    def fewest(self, trial: Snapshot, shape: Shape, rank: int) -> Column:
        """By node: how many must go besides those who go anyway, none above `rank`; at least one.
        More than `RUNGS` if so many would not do."""
        fewest: Column = np.ones(self._nodes, dtype=np.int64)
        for name, short in self._shortages(trial, shape).items():
            rungs = self._rungs(name, rank)
            below = (rungs < short[:, np.newaxis]).sum(axis=1)
            fewest = np.maximum(fewest, np.where(short > 0, below + 1, 1))
        return fewest

    def _shortages(self, trial: Snapshot, shape: Shape) -> dict[str, Column]:
        nothing = np.zeros(self._nodes, dtype=np.int64)
        shortages = {
            name: bounded(amount) - trial.free.get(name, nothing) - self._going[name]
            for name, amount in shape.quantities.items()
            if amount
        }
        if shape.gpu is not None:
            fitting = fitting_gpus(trial, shape.gpu).sum(axis=1)
            shortages[GPU] = shape.gpu.count - fitting - self._going[GPU]
        return shortages

    def _rungs(self, name: str, rank: int) -> NDArray[np.int64]:
        """[node, n]: the sum of the n + 1 largest of those up to `rank`."""
        if (name, rank) not in self._known:
            self._known[name, rank] = self._sums(name, rank)
        return self._known[name, rank]

    def _sums(self, name: str, rank: int) -> NDArray[np.int64]:
        able = np.flatnonzero(self._ranks <= rank)
        held = np.array([_held(self._claims[each], name) for each in able.tolist()], dtype=np.int64)
        affordable = self._are_affordable(able, held)
        places, held = self._places[able[affordable]], held[affordable]
        order = np.lexsort((-held, places))
        places, held = places[order], held[order]
        nth = np.arange(len(places)) - np.searchsorted(places, places)
        is_rung = nth < RUNGS
        largest = np.zeros((self._nodes, RUNGS), dtype=np.int64)
        largest[places[is_rung], nth[is_rung]] = held[is_rung]
        return largest.cumsum(axis=1)

    def _are_affordable(self, able: NDArray[np.int64], held: NDArray[np.int64]) -> Mask:
        """Of each workload on each node, the largest claims, as many as its budget allows."""
        groups = self._places[able] * (len(self._claims) + 1) + self._workloads[able]
        order = np.lexsort((-held, groups))
        sorted_groups = groups[order]
        nth = np.empty(len(able), dtype=np.int64)
        nth[order] = np.arange(len(able)) - np.searchsorted(sorted_groups, sorted_groups)
        are_affordable: Mask = nth < self._budgets[able]
        return are_affordable


def _at_most(budget: int | None) -> int:
    return RUNGS if budget is None else budget


def _held(claim: Claim, name: str) -> int:
    return len(claim.gpus) if name == GPU else bounded(claim.shape.quantities.get(name, 0))
