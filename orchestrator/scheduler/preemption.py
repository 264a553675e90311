"""Who gives way: when a request fits nowhere, the fewest and lowest instances that are in its way.

Theory of operation
-------------------
A request displaces only instances of a lower priority, all on the node that it is given, and only
as many as their workloads' budgets allow. Of all nodes, the one is taken where the highest of the
victims is lowest; then where they are fewest; then the best by its cost.

*Nobody is displaced for nothing:* victims and newcomer are decided in one step, and committed in
one transaction. *Nobody is displaced twice for the same:* where room is coming free without any
victim, the request waits for it. *No cascade:* the planner lets no one displace others who seeks
a new place because he was displaced himself.

What runs elsewhere in a domain is left alone: constraints on domains must hold as things are.
So are those for whose company a hard affinity asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, islice

import numpy as np

from orchestrator.model.instance import InstanceName
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.feasibility import Filter, stages
from orchestrator.scheduler.ladders import RUNGS, Ladders
from orchestrator.scheduler.plugins import FilterPlugin
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.room import fits_without, has_room, in_the_way
from orchestrator.scheduler.snapshot import Claim, Snapshot, is_meant

MAX_SETS = 2000
"""Sets of victims compared on one node, the smallest first, before a greedy choice must do."""

MAX_VICTIMS = RUNGS
"""Of one newcomer: each may be of another workload, whose status is written in the same
transaction, and that holds 128 operations."""

OF_LOAD = (Filter.PORT, Filter.GPU, Filter.RESOURCE)
"""What other instances on the node stand in the way of."""


@dataclass(frozen=True, slots=True)
class Displacement:
    at: int
    victims: tuple[Claim, ...]


@dataclass(slots=True)
class Displacer:
    """For one call of a scheduler: whom it has displaced already."""

    displaced: set[InstanceName] = field(default_factory=set)
    places: set[int] = field(default_factory=set)
    spent: Counter[WorkloadKey] = field(default_factory=Counter)
    ladders: Ladders | None = None

    def copy(self) -> Displacer:
        """Of what it has decided. The ladders are made anew when they are needed."""
        return Displacer(set(self.displaced), set(self.places), Counter(self.spent))

    def find(
        self,
        trial: Snapshot,
        shape: Shape,
        order: Sequence[int],
        plugins: Sequence[FilterPlugin],
    ) -> Displacement | None:
        """`order` has the nodes by their cost, the best first. None if nobody can give way, or
        nobody need: then room is coming free."""
        passes = _ignoring_load(trial, shape, plugins)
        if self._is_coming_free(trial, shape, passes):
            return None
        below = trial.staying[: shape.priority.rank]
        mask = self._might_have_room(trial, shape, passes, [trial.leaving, *below])
        if not mask.any():
            return None
        if self.ladders is None:
            self.ladders = self._ladders(trial)
        for rank in range(shape.priority.rank):
            fewest = self.ladders.fewest(trial, shape, rank)
            places = [at for at in order if mask[at] and fewest[at] <= MAX_VICTIMS]
            found = self._best_on(trial, shape, places, rank, fewest)
            if found is not None:
                self._note(found, self.ladders)
                return found
        return None

    def _might_have_room(
        self, trial: Snapshot, shape: Shape, passes: Mask, going: Sequence[dict[str, Column]]
    ) -> Mask:
        mask = passes & has_room(trial, shape, going)
        mask[list(self.places)] = passes[list(self.places)]  # who goes from there is in no column
        return mask

    def _ladders(self, trial: Snapshot) -> Ladders:
        ladders = Ladders(trial)
        for at in self.places:
            for claim in trial.claims[at].values():
                if claim.instance in self.displaced:
                    ladders.let_go(at, claim)
        return ladders

    def _is_coming_free(self, trial: Snapshot, shape: Shape, passes: Mask) -> bool:
        """Whether some node has the room once those are gone who leave it anyway."""
        mask = self._might_have_room(trial, shape, passes, [trial.leaving])
        for at in np.flatnonzero(mask).tolist():
            leaving = self.leaving(trial, at)
            if leaving and fits_without(trial, shape, at, leaving):
                return True
        return False

    def leaving(self, trial: Snapshot, at: int) -> list[Claim]:
        """Who goes from the node anyway, or has been displaced from it by now."""
        held = trial.claims[at].values()
        return [each for each in held if each.is_leaving or each.instance in self.displaced]

    def _note(self, found: Displacement, ladders: Ladders) -> None:
        self.places.add(found.at)
        for claim in found.victims:
            ladders.let_go(found.at, claim)
            self.displaced.add(claim.instance)
            self.spent[claim.shape.workload] += 1

    def _best_on(
        self, trial: Snapshot, shape: Shape, places: Sequence[int], rank: int, fewest: Column
    ) -> Displacement | None:
        """`places` are in order of their costs. Those that may do with fewest come first; the
        others are looked at only as long as they could be better still."""
        best: tuple[int, int, Displacement] | None = None
        for least, nth, at in sorted((int(fewest[at]), nth, at) for nth, at in enumerate(places)):
            if best is not None and (least, nth) > best[:2]:
                break
            most = MAX_VICTIMS if best is None else best[0] - (nth > best[1])
            if victims := self._victims(trial, shape, at, rank, range(least, most + 1)):
                best = len(victims), nth, Displacement(at, victims)
        return best[2] if best else None

    def _victims(
        self, trial: Snapshot, shape: Shape, at: int, rank: int, sizes: range
    ) -> tuple[Claim, ...]:
        """The fewest on this node, none above `rank`; of those the lowest, then by name. None of
        them if it takes more than `sizes`."""
        leaving = self.leaving(trial, at)
        is_in_the_way = in_the_way(trial, shape, at, leaving)
        able = sorted(
            (each for each in trial.claims[at].values() if self._may_go(each, rank, shape)),
            key=lambda each: (each.shape.priority.rank, each.instance),
        )
        able = [each for each in able if is_in_the_way(each)]
        if not fits_without(trial, shape, at, (*leaving, *able)):
            return ()
        sets = chain.from_iterable(combinations(able, size) for size in sizes)
        for some in islice(sets, MAX_SETS):
            if fits_without(trial, shape, at, (*leaving, *some)) and self._affords(some, trial):
                return some
        some = self._greedily(trial, shape, at, able, leaving)
        return some if len(some) in sizes else ()

    def _may_go(self, claim: Claim, rank: int, shape: Shape) -> bool:
        is_lower = claim.shape.priority.rank <= rank
        is_going = claim.is_leaving or claim.instance in self.displaced
        return is_lower and not is_going and not _is_company(claim.shape, shape)

    def _greedily(
        self, trial: Snapshot, shape: Shape, at: int, able: list[Claim], leaving: list[Claim]
    ) -> tuple[Claim, ...]:
        """All that the budgets allow, less those, the highest first, without whom it fits too;
        none if it does not fit even so."""
        some: list[Claim] = []
        for claim in able:
            if self._affords((*some, claim), trial):
                some.append(claim)
        if not fits_without(trial, shape, at, (*leaving, *some)):
            return ()
        for claim in reversed(list(some)):
            rest = [each for each in some if each is not claim]
            if fits_without(trial, shape, at, (*leaving, *rest)):
                some = rest
        return tuple(some)

    def _affords(self, some: Sequence[Claim], trial: Snapshot) -> bool:
        wanted = Counter(claim.shape.workload for claim in some)
        for workload, count in wanted.items():
            budget = trial.budget(workload)
            if budget is not None and self.spent[workload] + count > budget:
                return False
        return True


def _is_company(other: Shape, shape: Shape) -> bool:
    """Whether the shape has to be where the other one is."""
    return other.workload.namespace == shape.workload.namespace and any(
        is_meant(term, other.workload, other.labels)
        for term in shape.placement.affinity
        if term.weight is None
    )


def _ignoring_load(trial: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin]) -> Mask:
    """Which nodes pass all filters but those that instances on the node itself answer for."""
    passes: Mask = np.ones(len(trial.facts), dtype=np.bool_)
    for stage in stages(trial, shape, plugins):
        if stage.filter not in OF_LOAD:
            passes &= stage.passes
    return passes
