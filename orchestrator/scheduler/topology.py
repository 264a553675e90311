"""Constraints over domains: affinity, anti-affinity and topology spread, as counts by domain.

Each becomes a `DomainRule`: which domain each node is in, how many instances count in each, and
from that which domains are open and what each is worth. Placing one more instance changes one
count, so that a batch need not look at the nodes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.placement import Affinity, TopologySpread, Unsatisfiable
from orchestrator.scheduler.facts import Column, Domains, Mask
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Counts, Snapshot, is_meant

SPREAD_POINTS = 10
"""What each instance above `max_skew` costs a domain when the spread is a preference only."""


class RuleKind(Enum):
    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SPREAD = "topology spread"


@dataclass(slots=True)
class DomainRule:
    """One constraint in the present state; `codes` has each node's index into `counts`.

    The last entry of `counts` is for the nodes without the label. `weight` None: closed domains
    refuse; else what a domain that meets (affinity) or breaks (the others) the rule is worth.
    `is_own`: instances of the very shape count, so that it changes as they are placed. `term` is
    the shape's own that it comes from; None if it is another workload's. `eligible` are the domains
    in which any node could take the shape at all: only those count for the spread.
    """

    kind: RuleKind
    text: str
    codes: Column
    counts: Column
    weight: int | None
    is_own: bool
    term: Affinity | TopologySpread | None = None
    max_skew: int = 0
    min_domains: int = 0
    eligible: NDArray[np.int64] | None = None

    def is_open(self) -> NDArray[np.bool_]:
        """By domain: whether one more instance may go there."""
        if self.kind is RuleKind.ANTI_AFFINITY:
            is_open: NDArray[np.bool_] = self.counts == 0
            is_open[-1] = True
            return is_open
        if self.kind is RuleKind.AFFINITY:
            is_open = self.counts > 0
            if self.is_own and not self.counts[:-1].any():
                is_open[:] = True  # the first one makes its domain the one
        else:
            is_open = self.counts < self.lowest() + self.max_skew
        is_open[-1] = False
        return is_open

    def points(self) -> Column:
        """By domain: what it adds to or takes from the worth of its nodes."""
        assert self.weight is not None
        if self.kind is RuleKind.SPREAD:
            most = self.lowest() + self.max_skew
            points = -self.weight * np.maximum(self.counts + 1 - most, 0)
            points[-1] = points[:-1].min(initial=0) - self.weight  # no domain at all: after all
            return points
        sign = 1 if self.kind is RuleKind.AFFINITY else -1
        points = sign * self.weight * (self.counts > 0)
        points[-1] = 0
        return points

    def lowest(self) -> int:
        """The count of the emptiest eligible domain; 0 if there are too few of them."""
        assert self.eligible is not None
        counts = self.counts[self.eligible]
        return 0 if len(counts) < max(self.min_domains, 1) else int(counts.min())

    @property
    def is_local(self) -> bool:
        """Anti-affinity to itself by node: no node takes a second one, and that is all."""
        is_by_node = len(self.counts) == len(self.codes) + 1
        return self.kind is RuleKind.ANTI_AFFINITY and is_by_node and self.weight is None


def domain_rules(snapshot: Snapshot, shape: Shape, candidates: Mask) -> list[DomainRule]:
    """All that restrict or rate nodes for the shape. `candidates` are the nodes that could take
    it whatever runs on them: only their domains count for the spread."""
    placement = shape.placement
    return [
        *(_affinity(snapshot, shape, RuleKind.AFFINITY, each) for each in placement.affinity),
        *(
            _affinity(snapshot, shape, RuleKind.ANTI_AFFINITY, each)
            for each in placement.anti_affinity
        ),
        *_repulsions(snapshot, shape),
        *(_spread(snapshot, shape, each, candidates) for each in placement.spread),
    ]


def _affinity(snapshot: Snapshot, shape: Shape, kind: RuleKind, term: Affinity) -> DomainRule:
    namespace = shape.workload.namespace
    meant = (
        counts
        for workload, counts in snapshot.presence.items()
        if workload.namespace == namespace and is_meant(term, workload, snapshot.labels[workload])
    )
    rule = _counted(
        snapshot.facts.domains(term.topology_key),
        kind,
        str(term),
        meant,
        weight=term.weight,
        is_own=is_meant(term, shape.workload, shape.labels),
    )
    rule.term = term
    return rule


def _repulsions(snapshot: Snapshot, shape: Shape) -> Iterator[DomainRule]:
    """Anti-affinity is mutual: what others hold against the shape keeps it away from them."""
    known = sorted(snapshot.repulsions, key=lambda each: (each.workload, each.text))
    for repulsion in known:
        counts = snapshot.repulsions[repulsion]
        workload, term = repulsion.workload, repulsion.term
        if workload.namespace != shape.workload.namespace:
            continue
        is_held_too = workload == shape.workload and term in shape.placement.anti_affinity
        if is_held_too or not is_meant(term, shape.workload, shape.labels):
            continue
        text = f"{workload.name} keeps away from {repulsion.text}"
        yield _counted(
            snapshot.facts.domains(term.topology_key),
            RuleKind.ANTI_AFFINITY,
            text,
            [counts],
            weight=term.weight,
            is_own=False,
        )


def _spread(
    snapshot: Snapshot, shape: Shape, spread: TopologySpread, candidates: Mask
) -> DomainRule:
    is_hard = spread.when_unsatisfiable is Unsatisfiable.DO_NOT_SCHEDULE
    rule = _counted(
        snapshot.facts.domains(spread.topology_key),
        RuleKind.SPREAD,
        f"{spread.topology_key}, at most {spread.max_skew} apart",
        [snapshot.presence.get(shape.workload, {})],
        weight=None if is_hard else SPREAD_POINTS,
        is_own=True,
    )
    rule.term, rule.max_skew, rule.min_domains = spread, spread.max_skew, spread.min_domains
    is_eligible = np.zeros(len(rule.counts), dtype=np.bool_)
    is_eligible[rule.codes[candidates]] = True
    rule.eligible = np.flatnonzero(is_eligible[:-1])
    return rule


def _counted(
    domains: Domains,
    kind: RuleKind,
    text: str,
    groups: Iterable[Counts],
    *,
    weight: int | None,
    is_own: bool,
) -> DomainRule:
    counts = np.zeros(len(domains.values) + 1, dtype=np.int64)
    for group in groups:
        places = np.fromiter(group.keys(), dtype=np.int64, count=len(group))
        amounts = np.fromiter(group.values(), dtype=np.int64, count=len(group))
        np.add.at(counts, domains.codes[places], amounts)
    return DomainRule(kind, text, domains.codes, counts, weight, is_own)
