"""I10: epochs rise; and I12: nobody asks the store for too much, or steps for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.model.keys import Keys
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.invariant import Invariant

MOST_CALLS_A_SECOND = 60.0
MOST_STEPS_A_SECOND = 4000.0
"""Of one process, over a `BOUNDS_SECONDS` of good or bad times."""

BOUNDS_SECONDS = 10.0


class Epochs(Invariant):
    """Each leader's epoch is greater than the one before, and it takes a place that was free."""

    name = "I10 epochs"

    def __init__(self, keys: Keys) -> None:
        self._leader = keys.leader
        self._last = 0

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            if entry.key != self._leader or entry.value is None:
                continue
            if entry.previous:
                yield Violation(revision, entry.key, f"taken from who led since {entry.previous}")
            if revision <= self._last:
                yield Violation(revision, entry.key, f"epoch {self._last} came before")
            self._last = revision

    def restored(self) -> None:
        self._last = 0


class Bounds:
    """Is given two counts for each process, now and then, and says who does too much."""

    name = "I12 bounds"

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def judged(
        self, revision: int, calls: Mapping[str, int], steps: Mapping[str, int]
    ) -> Iterator[Violation]:
        for what, counts, most in (
            ("store calls", calls, MOST_CALLS_A_SECOND),
            ("steps", steps, MOST_STEPS_A_SECOND),
        ):
            for name, count in counts.items():
                rate = (count - self._last.get((what, name), 0)) / BOUNDS_SECONDS
                self._last[what, name] = count
                if rate > most:
                    yield Violation(revision, name, f"{rate:g} {what} a second are too many")
