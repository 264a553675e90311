"""I5: what runs is what was assigned; nothing passes for it because it has the same name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.invariant import Invariant
from orchestrator.simulation.sightings import Run


class Identity(Invariant):
    """An assignment is said to run only after a container was begun for that very assignment."""

    name = "I5 identity"

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._folder = state.keys.folder(Kind.OBSERVATION)
        self._begun: set[tuple[InstancePlace, int]] = set()

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            if entry.value is None or not entry.key.startswith(self._folder):
                continue
            place = self._state.keys.parse(entry.key).name
            assert isinstance(place, InstancePlace)
            found = self._state.observations.get(place)
            if found is None or found.mod_revision != revision:
                continue  # damaged: it says nothing
            record = found.record
            runs = record.status is WorkloadInstanceStatus.RUNNING
            if runs and (place, record.assignment) not in self._begun:
                says = f"assignment {record.assignment} is said to run, but was never begun"
                yield Violation(revision, entry.key, says)

    def began(self, run: Run) -> Iterator[Violation]:
        self._begun.add((run.place, run.assignment))
        yield from ()
