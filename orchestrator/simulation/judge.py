"""Holds a simulated cluster to all promises, at every revision and at every start and stop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.cluster.view import ClusterView
from orchestrator.simulation.history import Chain, Entry, Fencing, History, Once, Violation
from orchestrator.simulation.invariants import mirrors
from orchestrator.simulation.invariants.answers import Answers
from orchestrator.simulation.invariants.capacity import Capacity
from orchestrator.simulation.invariants.copies import AtMostOne, GivenUpInTime
from orchestrator.simulation.invariants.epochs import Epochs
from orchestrator.simulation.invariants.identity import Identity
from orchestrator.simulation.invariants.invariant import Checked, Invariant
from orchestrator.simulation.invariants.stops import ASKED_FOR, Budgets, StaticStability
from orchestrator.simulation.judging import fence_of
from orchestrator.simulation.sightings import Run, Silences
from orchestrator.simulation.truth import Truth
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.values import Event

SPOILT = b"{"
"""What people write over a row by hand, in some scenarios."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: which, where, and when in the world's time."""

    promise: str
    at: float
    violation: Violation

    def __str__(self) -> str:
        wrong = self.violation
        when = f"at {self.at:.3f} s, revision {wrong.revision}"
        return f"{self.promise}: {when}: {wrong.key}: {wrong.says}"


class Judge:
    """Observes `store` and is the `Onlooker` of the machines. `is_broken` is set with the first
    of the `findings`. `allowed` are the leader's reasons to stop something."""

    def __init__(self, store: MemoryCluster, truth: Truth, *, allowed: str = ASKED_FOR) -> None:
        self.history = History()
        self.runs: list[Run] = []
        self.spoilt: set[str] = set()
        self.findings: list[Finding] = []
        self.is_broken = asyncio.Event()
        self.answers = Answers(truth.state.keys)
        self._truth = truth
        self._silences = Silences(truth.state.keys, virtual_now)
        self._fencing = Fencing(fence_of)
        self._once = Once()
        self._invariants = self._all(allowed)
        self._digest = hashlib.sha256()
        store.observe(self._committed)

    def _all(self, allowed: str) -> Sequence[Invariant]:
        state = self._truth.state
        return (
            Checked("I1 single writer", self._fencing),
            Checked("I2 no blind overwrite", Chain()),
            Checked("I2 once", self._once),
            AtMostOne(state, self._silences),
            GivenUpInTime(state, self._silences),
            Identity(state),
            self.answers,
            Capacity(state),
            Budgets(state),
            Epochs(state.keys),
            StaticStability(state, allowed, self.spoilt),
        )

    @property
    def digest(self) -> str:
        """Of everything that was ever written, and of all starts and stops, with their times."""
        return self._digest.hexdigest()

    @property
    def restorations(self) -> int:
        """How often the store has gone back to a backup."""
        return self._truth.restorations

    def watch(self, name: str, view: ClusterView) -> None:
        mirrors.MirrorCheck(name, view, self._truth, lambda wrong: self.tell(mirrors.NAME, wrong))

    def tell(self, promise: str, violation: Violation) -> None:
        self.findings.append(Finding(promise, virtual_now(), violation))
        self.is_broken.set()

    def began(self, run: Run) -> None:
        self.runs.append(run)
        self._note(f"{run}")
        for each in self._invariants:
            self._tell_all(each, each.began(run))

    def ended(self, run: Run) -> None:
        self._note(f"{run} {run.exit_code}")
        for each in self._invariants:
            self._tell_all(each, each.ended(run))

    def restored(self) -> None:
        """The store has gone back; the truth has followed it already."""
        rows = self._truth.rows()
        self.history.forget({kv.key: kv.mod_revision for kv in rows})
        self._fencing.forget({kv.key: kv.create_revision for kv in rows})
        self._once.revisions.clear()
        self._silences.restored(self._truth.state.sessions.keys())
        for each in self._invariants:
            each.restored()

    def context(self, revisions: int = 50) -> list[Entry]:
        """What led to the first finding."""
        first = self.findings[0].violation.revision
        return [
            entry for entry in self.history.entries if first - revisions <= entry.revision <= first
        ]

    def _committed(self, revision: int, events: tuple[Event, ...]) -> None:
        entries = self.history.record(revision, events)
        for entry in entries:
            self._digest.update(f"{entry.revision} {virtual_now():.6f} {entry.key} ".encode())
            self._digest.update(entry.value or b"-")
        self._silences.feed(entries)
        for each in self._invariants:
            self._tell_all(each, each.feed(revision, entries))

    def _tell_all(self, invariant: Invariant, violations: Iterable[Violation]) -> None:
        for violation in violations:
            if not self._is_excused(violation):
                self.tell(invariant.name, violation)

    def _is_excused(self, wrong: Violation) -> bool:
        """What people have spoilt. And a create that was carried out again when what it had
        created was gone (see "Strays" in `store.transactions`): its writer gets over it."""
        found = [
            each
            for each in self.history.entries[-200:]
            if (each.revision, each.key) == (wrong.revision, wrong.key)
        ]
        is_stray = "was carried out at" in wrong.says
        return any(
            each.value == SPOILT or (is_stray and each.stamp.get("base") == 0) for each in found
        )

    def _note(self, text: str) -> None:
        self._digest.update(text.encode())
