"""I7: every mirror is, after each of its steps, exactly the store at the revision that it names."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.cluster.view import ClusterView, ViewChange
from orchestrator.simulation.history import Violation
from orchestrator.simulation.truth import NOTHING, Truth, print_of

NAME = "I7 cache = store"


class MirrorCheck:
    """A sink of one view: keeps the sum of what the view holds, and compares it with the truth.

    A view of a store that has been put back since may yet be told of what is no more.
    """

    def __init__(
        self, name: str, view: ClusterView, truth: Truth, tell: Callable[[Violation], None]
    ) -> None:
        self._name = name
        self._view = view
        self._truth = truth
        self._tell = tell
        self._held: dict[str, int] = {}
        self._sum = NOTHING
        self._restorations = truth.restorations
        view.attach(self)

    def offer(self, changes: list[ViewChange]) -> None:
        versions = self._view.mirror.versions
        for key in {change.key: None for change in changes}:
            if before := self._held.pop(key, 0):
                self._sum -= print_of(key, before)
            if version := versions.get(key):
                self._held[key] = version.mod_revision
                self._sum += print_of(key, version.mod_revision)
        revision = self._view.mirror.revision
        if self._restorations != self._truth.restorations:
            return
        if self._sum != self._truth.fingerprint(revision):
            self._tell(Violation(revision, self._name, "its mirror is not the store's state"))
