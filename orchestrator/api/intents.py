"""What a write comes to: rows with their guards, and the answer once they are written. Pure.

Theory of operation
-------------------
The mirror that a decision is made from may be behind the store: another replica may just have
acknowledged a write. So every intent names what it was decided from, and *every* answer is
confirmed by the store under those guards: "nothing to do", "there is no such workload" and "your
If-Match does not hold" are transactions of checks alone, which move no revision. When the store
disagrees, the mirror catches up and the decision is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.api.errors import PreconditionFailed
from orchestrator.model.answers import Outcome
from orchestrator.model.cluster_state import ClusterState, Entry
from orchestrator.model.errors import OrchestrationError
from store.transactions import Check, Mutation

HEALED = "the record could not be read, and is written anew"
MAX_CHANGES_TOLD = 5
"""How many changes an event tells; the answer to the writer tells all."""


@dataclass(frozen=True, slots=True)
class Precondition:
    """If-Match and If-None-Match: what must be true of the object's mod_revision (0: absent)."""

    allowed: frozenset[int] | None = None
    must_exist: bool = False
    must_be_absent: bool = False

    def broken(self, mod_revision: int) -> str | None:
        """Why it does not hold; None if it does."""
        if self.must_be_absent and mod_revision:
            return f"it exists already, at mod_revision {mod_revision}"
        if self.must_exist and not mod_revision:
            return "it does not exist"
        if self.allowed is not None and mod_revision not in self.allowed:
            found = f"it is at mod_revision {mod_revision}" if mod_revision else "it does not exist"
            return f"{found}, which If-Match does not name; read it again"
        return None


ANYTHING = Precondition()


@dataclass(frozen=True, slots=True)
class Happening:
    """What the event of a write says."""

    kind: str
    subject: str
    reason: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """`base` is the object's mod_revision now. With a `refusal` there are only checks, and it
    is raised once they have held."""

    mutations: tuple[Mutation, ...]
    outcome: Outcome
    base: int = 0
    generation: int = 0
    changes: tuple[str, ...] = ()
    happening: Happening | None = None
    refusal: OrchestrationError | None = None

    def as_checks(self) -> Intent:
        """The same question to the store, writing nothing."""
        checks = tuple(Check(each.key, each.base) for each in self.mutations)
        return replace(self, mutations=checks, happening=None)


def base_of(state: ClusterState, row: str, entry: Entry[Any] | None) -> int:
    """The mod_revision that guards a write of `row`, readable or not; 0 when it is absent."""
    if entry:
        return entry.mod_revision
    damage = state.damaged.get(row)
    return damage.mod_revision if damage else 0


def refused(error: OrchestrationError, *checks: Check) -> Intent:
    return Intent(checks, Outcome.UNCHANGED, refusal=error)


def precondition_failed(subject: str, why: str, check: Check) -> Intent:
    return refused(PreconditionFailed(f"{subject} was left alone: {why}"), check)


def told(changes: Sequence[str]) -> str:
    """Changes for an event's reason: the first few."""
    more = len(changes) - MAX_CHANGES_TOLD
    text = "; ".join(changes[:MAX_CHANGES_TOLD])
    return f"{text}; and {more} more" if more > 0 else text
