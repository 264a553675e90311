"""A batch: many instances of one shape, placed one after the other, each on the best node then.

Theory of operation
-------------------
One instance changes the cost of one node, and the counts of one domain in each rule that its own
kind counts in; so all nodes are looked at but once, and what a pick changes is worked out for that
node and those domains alone. The answer is the very one that asking all nodes for every single
instance would give; a test holds it to a reference that does just that.

*Without such rules*, only the first `k` nodes by cost can be chosen by `k` picks: the costs of the
others do not change. They go on a heap; a node that is picked comes back with its new cost.

*With them*, nodes that are in the same domain of every rule form a *cell*: whatever is picked,
they stay in order among themselves. Each cell has a heap; a pick compares the heads of the cells
that are open. Of cells that have a domain to themselves, those of equal counts stay in order too,
until one of them is picked: so of those only the first `k` can be chosen, and a domain for each of
5,000 nodes costs no more than a few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.feasibility import Field
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.ranking import POINTS_SHIFT, Ranking
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule

NEVER = np.iinfo(np.int64).max


class Pick(NamedTuple):
    """A node for one instance, and its cost when it was picked."""

    place: int
    cost: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """Nodes in order of their costs. `room`: how many more instances each takes, 1 or more."""

    places: list[int]
    costs: list[int]
    room: list[int]
    cost_after: Callable[[int, int], int]

    def heap(self, positions: Sequence[int]) -> list[tuple[int, int, int]]:
        """(cost, place, position) of some of them."""
        heap = [(self.costs[each], self.places[each], each) for each in positions]
        heapify(heap)
        return heap


def pick_plainly(field: Field, ranking: Ranking, count: int, snapshot: Snapshot) -> list[Pick]:
    """The nodes of up to `count` instances, where no rule counts the shape's own instances."""
    places = _best(ranking.costs, field.mask(), count)
    if count == 1 or not places:
        return [Pick(place, int(ranking.costs[place])) for place in places]
    candidates = _candidates(field, ranking, places, count, snapshot)
    heap = candidates.heap(range(len(places)))
    used = [0] * len(places)
    picks: list[Pick] = []
    while heap and len(picks) < count:
        picks.append(_take(heap, candidates, used))
    return picks


def pick_by_cells(
    field: Field, ranking: Ranking, count: int, snapshot: Snapshot, rules: Sequence[DomainRule]
) -> list[Pick]:
    """The same with rules that do; `field.rules` are the others. Counts in `rules` go along."""
    mask = field.mask()
    places = np.flatnonzero(mask)
    if not len(places):
        return []
    cells, domains = _cells(places, rules)
    costs = ranking.costs[places]
    order = np.lexsort((places, costs, cells))
    starts = np.searchsorted(cells[order], np.arange(domains.shape[1] + 1))
    heads = order[starts[:-1]]
    chosen = _first_of_like(places[heads], costs[heads], domains, rules, count)
    domains = domains[:, chosen]
    ends = np.minimum(starts[chosen + 1], starts[chosen] + count).tolist()
    spans = [order[low:high] for low, high in zip(starts[chosen].tolist(), ends, strict=True)]
    kept = places[np.concatenate(spans)].tolist()
    candidates = _candidates(field, ranking, kept, count, snapshot)
    ends = accumulate((len(span) for span in spans), initial=0)
    heaps = [candidates.heap(range(low, high)) for low, high in pairwise(ends)]
    heads = np.array([heap[0][0] for heap in heaps], dtype=np.int64)
    first = np.array([heap[0][1] for heap in heaps], dtype=np.int64)
    used = [0] * len(candidates.places)
    picks: list[Pick] = []
    while len(picks) < count and (cell := _best_cell(heads, first, domains, rules)) is not None:
        heap = heaps[cell]
        picks.append(_take(heap, candidates, used))
        heads[cell], first[cell] = heap[0][:2] if heap else (NEVER, 0)
        for rule, domain in zip(rules, domains[:, cell], strict=True):
            rule.counts[domain] += 1
    return picks


def _take(heap: list[tuple[int, int, int]], candidates: Candidates, used: list[int]) -> Pick:
    """The best node; it stays on the heap at its new cost if it takes yet another."""
    cost, place, nth = heap[0]
    used[nth] += 1
    if used[nth] < candidates.room[nth]:
        heapreplace(heap, (candidates.cost_after(nth, used[nth]), place, nth))
    else:
        heappop(heap)
    return Pick(place, cost)


def _best(costs: Column, mask: Mask, count: int) -> list[int]:
    """The `count` places of the lowest cost among those of the mask, by cost, then place."""
    if count == 1:
        if not mask.any():
            return []
        return [int(np.argmin(np.where(mask, costs, NEVER)))]
    places = np.flatnonzero(mask)
    if len(places) > count:
        found = costs[places]
        limit = np.partition(found, count - 1)[count - 1]
        below = places[found < limit]
        tied = places[found == limit][: count - len(below)]
        places = np.concatenate((below, tied))
    chosen: list[int] = places[np.lexsort((places, costs[places]))].tolist()
    return chosen


def _candidates(
    field: Field, ranking: Ranking, places: list[int], count: int, snapshot: Snapshot
) -> Candidates:
    return Candidates(
        places,
        ranking.costs[places].tolist(),
        _room(field.shape, snapshot, places, count, field.rules).tolist(),
        ranking.after(places),
    )


def _room(
    shape: Shape, snapshot: Snapshot, places: list[int], most: int, rules: Sequence[DomainRule]
) -> Column:
    """How many of the shape each place takes, `most` at most."""
    is_single = bool(shape.host_ports) or any(rule.is_own and rule.is_local for rule in rules)
    room: Column = np.full(len(places), 1 if is_single else most, dtype=np.int64)
    for name, amount in shape.quantities.items():
        if amount > 0 and not is_single:
            room = np.minimum(room, snapshot.free[name][places] // amount)
    return room


def _cells(
    places: NDArray[np.int64], rules: Sequence[DomainRule]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each place's cell, and [rule, cell]: the domain that the cell is in."""
    codes = [rule.codes[places] for rule in rules]
    cells, firsts = _classes(codes)
    return cells, np.stack([each[firsts] for each in codes])


def _classes(columns: Sequence[Column]) -> tuple[Column, Column]:
    """The class of each entry, alike in all columns; and the first entry of each class. Values
    are not negative, and at most as large as some millions."""
    classes = np.zeros_like(columns[0])
    for column in columns:
        classes = classes * (int(column.max()) + 1) + column
        _, firsts, classes = np.unique(classes, return_index=True, return_inverse=True)
    return classes, firsts


def _first_of_like(
    places: Column, costs: Column, domains: Column, rules: Sequence[DomainRule], count: int
) -> Column:
    """Of the cells, those that can be among `count` picks, by their heads: for a rule that gives
    each cell a domain of its own, equal counts are alike."""
    alike = []
    for rule, codes in zip(rules, domains, strict=True):
        is_apart = bool((np.bincount(codes) <= 1).all())
        no_domain = len(rule.counts) - 1
        alike.append(np.where(codes == no_domain, 0, rule.counts[codes] + 1) if is_apart else codes)
    classes, firsts = _classes(alike)
    order = np.lexsort((places, costs, classes))
    starts = np.searchsorted(classes[order], np.arange(len(firsts)))
    nth = np.arange(len(order)) - starts[classes[order]]
    return np.sort(order[nth < count])


def _best_cell(
    heads: NDArray[np.int64],
    first: NDArray[np.int64],
    domains: NDArray[np.int64],
    rules: Sequence[DomainRule],
) -> int | None:
    """The open cell whose head is best, by cost, then by place; None if none is open."""
    costs = heads.copy()
    for rule, codes in zip(rules, domains, strict=True):
        if rule.weight is None:
            costs[~rule.is_open()[codes]] = NEVER
        else:
            points = rule.points()[codes] << POINTS_SHIFT
            costs = np.where(costs == NEVER, NEVER, costs - points)
    if (best := costs.min()) == NEVER:
        return None
    tied = np.flatnonzero(costs == best)
    return int(tied[np.argmin(first[tied])])
