"""Whose turn it is: which workloads the leader plans next.

What has changed or is due comes first, and of that the highest priority: it may displace the
others. What merely goes on, and what a periodic pass looks at, gets a smaller share of its own: it
is neither put off for ever, nor does anything new wait until all of a large cluster was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice

from orchestrator.model.workload import WorkloadKey

SLICE = 100
"""Workloads with news that are planned in one go. Placing a thousand new ones on 500 nodes takes
1.5 s, in which the lease cannot be renewed; whoever is elected next would have the same before
it."""

ROUTINE_SLICE = 40
"""And so many beside them as a routine. To look at 40 workloads of 100 replicas takes 25 ms: as
long as what is new may have to wait."""


class Turns:
    """`rank` is a workload's priority; the higher, the earlier."""

    def __init__(self, rank: Callable[[WorkloadKey], int]) -> None:
        self._rank = rank
        self._urgent = _Line()
        self._routine = _Line()

    def __bool__(self) -> bool:
        return bool(self._urgent or self._routine)

    def add(self, workloads: Iterable[WorkloadKey], *, after_news: bool = False) -> None:
        """They have changed or are due. `after_news`: they have waited in vain before."""
        for each in workloads:
            self._urgent.add(each, (-self._rank(each), after_news))

    def add_routine(self, workloads: Iterable[WorkloadKey]) -> None:
        for each in workloads:
            self._routine.add(each, (-self._rank(each), False))

    def draw(self) -> set[WorkloadKey]:
        """Whose turn it is now: they are taken from here. Empty if nobody waits."""
        found = set(islice(self._urgent, SLICE))
        for each in found:
            self._routine.drop(each)
        return found.union(islice(self._routine, ROUTINE_SLICE))


class _Line:
    """Each waits once, however often it is added, and where it was added first."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, bool], WorkloadKey]] = []
        self._waiting: set[WorkloadKey] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, workload: WorkloadKey, order: tuple[int, bool]) -> None:
        if workload not in self._waiting:
            self._waiting.add(workload)
            heappush(self._heap, (order, workload))

    def drop(self, workload: WorkloadKey) -> None:
        self._waiting.discard(workload)

    def __iter__(self) -> Iterator[WorkloadKey]:
        """Takes out one after the other."""
        while self._heap:
            _, workload = heappop(self._heap)
            if workload in self._waiting:
                self._waiting.remove(workload)
                yield workload
