"""I10: epochs rise, and somebody leads; and I12: nobody asks for too much, or steps for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from orchestrator.model.keys import Keys
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.invariant import Invariant

MOST_CALLS_A_SECOND = 60.0
MOST_STEPS_A_SECOND = 4000.0
"""Of one process, over a `BOUNDS_SECONDS` of good or bad times."""

BOUNDS_SECONDS = 10.0

MOST_SECONDS_WITHOUT_LEADER = 7.0
"""From when a leader's row has gone and some controller is up, in touch with the store and dealt
with fairly: a lease's time and two seconds. Whatever befalls the others meanwhile."""


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


class Vacancy:
    """Is told now and then whether somebody leads and which controllers could, and says when the
    place has been free for longer than one of them should have taken to take it."""

    name = Epochs.name

    def __init__(self) -> None:
        self._free_since: float | None = None
        self._able_since: dict[str, float] = {}

    def judged(
        self, revision: int, now: float, *, is_led: bool, able: Collection[str]
    ) -> Iterator[Violation]:
        self._able_since = {name: self._able_since.get(name, now) for name in able}
        if is_led or not able:
            self._free_since = None
            return
        if self._free_since is None:
            self._free_since = now
        first = min(self._able_since, key=lambda name: self._able_since[name])
        seconds = now - max(self._free_since, self._able_since[first])
        if seconds > MOST_SECONDS_WITHOUT_LEADER:
            yield Violation(revision, first, f"nobody leads for {seconds:g} s, though it could")


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
