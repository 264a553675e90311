"""What a checker is told, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.simulation.history import Check, Entry, Violation
from orchestrator.simulation.sightings import Run


class Invariant:
    """Each method is told of one thing as it happens, and answers what is wrong with it.

    `restored`: the store has gone back to a backup; what was known of it is void, and what ran
    before may be stopped, as people have confirmed that the backup is to count.
    """

    name = ""

    def feed(self, _revision: int, _entries: Sequence[Entry]) -> Iterable[Violation]:
        return ()

    def began(self, _run: Run) -> Iterable[Violation]:
        return ()

    def ended(self, _run: Run) -> Iterable[Violation]:
        return ()

    def restored(self) -> None:
        pass


class Checked(Invariant):
    """A check of histories, under its name as a promise."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterable[Violation]:
        return self._check.feed(revision, entries)
