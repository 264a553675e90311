"""Which of the nodes that fit is best: a total order, so that decisions are determined.

A node comes before another if, in this order, the request asks for it by name; the workload has
failed there less often; its preferences are worth more points; and then, by strategy,

- spread: it has fewer of this workload; its load would be lower; it holds fewer instances;
- pack: its load would be higher.

Load is the largest share, in thousandths, that any one requested resource would reach. The name
breaks what ties are left. All of it is packed into one whole number per node, the `cost`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.model.placement import Strategy
from orchestrator.scheduler.facts import Column
from orchestrator.scheduler.protocol import ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule

HELD_BITS, LOAD_BITS, OWN_BITS, POINTS_BITS, FAILURES_BITS = 12, 10, 17, 20, 3
"""Of a cost, from the lowest; 62 in all. What does not fit counts as the most that does."""

LOAD_SHIFT = HELD_BITS
OWN_SHIFT = LOAD_SHIFT + LOAD_BITS
POINTS_SHIFT = OWN_SHIFT + OWN_BITS
FAILURES_SHIFT = POINTS_SHIFT + POINTS_BITS

MOST_HELD, MOST_LOAD, MOST_OWN = (1 << HELD_BITS) - 1, (1 << LOAD_BITS) - 1, (1 << OWN_BITS) - 1
MOST_POINTS = (1 << (POINTS_BITS - 1)) - 1
MOST_FAILURES = (1 << FAILURES_BITS) - 1
PREFERRED = -3 << (FAILURES_SHIFT + FAILURES_BITS - 1)
"""What the preferred node costs less: more than all costs can differ by, and still an int64."""

TAINT_POINTS = 50
"""What each untolerated PreferNoSchedule taint costs."""
GPU_POINTS = 25
"""What a node with GPUs costs those who ask for none, where others have none."""
IMAGE_POINTS = 10
"""What each image that is there already is worth."""


def preference(
    snapshot: Snapshot, shape: Shape, rules: Sequence[DomainRule], extra: Sequence[Column]
) -> Column | None:
    """Points by node of all soft constraints, and `extra` ones; None if there are none."""
    facts, placement = snapshot.facts, shape.placement
    parts: list[Column] = [
        facts.selected(selector) * np.int64(selector.weight)
        for selector in placement.nodes
        if selector.weight is not None
    ]
    if facts.has_discouraging_taints:
        parts.append(-TAINT_POINTS * facts.discouraging(placement.tolerations))
    if shape.gpu is None and facts.has_gpus.any() and not facts.has_gpus.all():
        parts.append(-GPU_POINTS * facts.has_gpus.astype(np.int64))
    parts += [facts.has_image(image) * np.int64(IMAGE_POINTS) for image in sorted(shape.images)]
    parts += _points_by_domain(rules)
    parts += extra
    return sum(parts[1:], start=parts[0]) if parts else None


def _points_by_domain(rules: Sequence[DomainRule]) -> list[Column]:
    """By node. What goes by the same domains is added up by domain first: of those who keep away
    there may be one rule for each workload that is around."""
    sums: dict[int, tuple[Column, Column]] = {}
    for rule in rules:
        points = rule.points()
        if (known := sums.get(id(rule.codes))) is not None:
            points = points + known[1]
        sums[id(rule.codes)] = rule.codes, points
    return [points[codes] for codes, points in sums.values()]


@dataclass(frozen=True, slots=True)
class Ranking:
    """`costs` by node for one more instance of the shape on it; the lowest is best. `notes` are
    for the reason: what could not be taken into account."""

    snapshot: Snapshot
    shape: Shape
    strategy: Strategy
    costs: Column
    base: Column | None
    has_points: bool
    notes: tuple[str, ...] = ()

    def after(self, places: Sequence[int]) -> Callable[[int, int], int]:
        """For some nodes: the cost of the n-th of them when it has `extra` more than now.

        What `costs` says for all nodes at once, for one: the difference is only in speed.
        """
        at = np.array(places, dtype=np.int64)
        base: list[int] = [0] * len(places) if self.base is None else self.base[at].tolist()
        own_counts = self.snapshot.presence.get(self.shape.workload, {})
        own = [own_counts.get(place, 0) for place in places]
        held: list[int] = self.snapshot.held[at].tolist()
        loads = [
            (has[at].tolist(), (has - free)[at].tolist(), amount)
            for has, free, amount in _loads(self.snapshot, self.shape)
        ]
        is_pack = self.strategy is Strategy.PACK

        def cost(nth: int, extra: int) -> int:
            load: int = 0
            for has, used, amount in loads:
                load = max(load, (used[nth] + (extra + 1) * amount) * 1000 // has[nth])
            load = int(min(load, MOST_LOAD))
            if is_pack:
                return base[nth] + ((MOST_LOAD - load) << LOAD_SHIFT)
            return (
                base[nth]
                + (min(own[nth] + extra, MOST_OWN) << OWN_SHIFT)
                + (load << LOAD_SHIFT)
                + min(held[nth] + extra, MOST_HELD)
            )

        return cost


def rank(
    snapshot: Snapshot, request: ScheduleRequest, strategy: Strategy, points: Column | None
) -> Ranking:
    """All nodes at once, whether they fit or not: the costs of those that do not mean nothing."""
    shape = request.shape
    base = _base(snapshot, request, points)
    load = _load(snapshot, shape)
    if strategy is Strategy.PACK:
        costs = (MOST_LOAD - load) << LOAD_SHIFT
    else:
        costs = (load << LOAD_SHIFT) + np.minimum(snapshot.held, MOST_HELD)
        for at, count in snapshot.presence.get(shape.workload, {}).items():
            costs[at] += min(count, MOST_OWN) << OWN_SHIFT
    if base is not None:
        costs += base
    return Ranking(snapshot, shape, strategy, costs, base, points is not None)


def reason(ranking: Ranking, fitting: int, node: str, cost: int, *, scope: str = "") -> str:
    """Why that node, of those that fit: what decided, read off its cost. `scope`: within what."""
    noun = "node that fits" if fitting == 1 else "nodes that fit"
    if cost < PREFERRED >> 2:  # whatever else it costs
        return f"of {fitting} {noun}, {node} is the one that is asked for"
    parts = []
    if failures := cost >> FAILURES_SHIFT:
        parts.append(f"has failed it least often ({failures})")
    if ranking.has_points:
        points = MOST_POINTS - ((cost >> POINTS_SHIFT) & (2 * MOST_POINTS + 1))
        parts.append(f"is preferred most ({points:+d} points)")
    if ranking.strategy is Strategy.PACK:
        load = MOST_LOAD - ((cost >> LOAD_SHIFT) & MOST_LOAD)
        parts.append(f"is fullest ({load / 10:.0f} %)")
    else:
        own = (cost >> OWN_SHIFT) & MOST_OWN
        parts.append(f"has the fewest of it ({own})")
    return "; ".join((f"of {fitting} {noun}, {node} {' and '.join(parts)}{scope}", *ranking.notes))


def standing(ranking: Ranking, at: int) -> str:
    """All that decides a node's turn, as it would be with one more instance on it."""
    cost = int(ranking.costs[at])
    parts = ["it is asked for"] if cost < PREFERRED >> 2 else []
    cost -= PREFERRED if parts else 0
    if failures := cost >> FAILURES_SHIFT:
        parts.append(f"{failures} failures")
    if ranking.has_points:
        points = MOST_POINTS - ((cost >> POINTS_SHIFT) & (2 * MOST_POINTS + 1))
        parts.append(f"{points:+d} points")
    load = (cost >> LOAD_SHIFT) & MOST_LOAD
    if ranking.strategy is Strategy.PACK:
        return ", ".join((*parts, f"{(MOST_LOAD - load) / 10:.0f} % full"))
    own, held = (cost >> OWN_SHIFT) & MOST_OWN, cost & MOST_HELD
    return ", ".join((*parts, f"{own} of it", f"{load / 10:.0f} % full", f"{held} instances"))


def _base(snapshot: Snapshot, request: ScheduleRequest, points: Column | None) -> Column | None:
    base: Column | None = None
    if points is not None:
        base = (MOST_POINTS - np.clip(points, -MOST_POINTS, MOST_POINTS)) << POINTS_SHIFT
    extras = [
        (node, min(failures, MOST_FAILURES) << FAILURES_SHIFT)
        for node, failures in request.failed_on.items()
    ]
    for node, extra in (*extras, (request.prefer, PREFERRED)):
        if (at := snapshot.facts.index.get(node)) is not None:
            base = np.zeros(len(snapshot.facts), dtype=np.int64) if base is None else base
            base[at] += extra
    return base


def _load(snapshot: Snapshot, shape: Shape) -> Column:
    load: Column = np.zeros(len(snapshot.facts), dtype=np.int64)
    for has, free, amount in _loads(snapshot, shape):
        share = (has - free + amount) * 1000 // np.maximum(has, 1)
        load = np.maximum(load, share)
    return np.minimum(load, MOST_LOAD)


def _loads(snapshot: Snapshot, shape: Shape) -> list[tuple[Column, Column, int]]:
    """(allocatable, free, requested) of each requested resource that any node has."""
    return [
        (snapshot.facts.allocatable[name], snapshot.free[name], amount)
        for name, amount in shape.quantities.items()
        if amount and name in snapshot.free
    ]
