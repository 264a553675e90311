"""I3: nothing runs twice, but where its workload takes that for the price of being replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition, WorkloadKey
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.invariant import Invariant
from orchestrator.simulation.sightings import Run, Silences
from orchestrator.simulation.virtual_time import virtual_now

Slot = tuple[WorkloadKey, int]

GIVEN_UP = "has been unreachable for"


class AtMostOne(Invariant):
    """Two runs of one slot overlap only if the older one's node had been lost for long enough
    when the newer one was assigned, and the workload says `replace`; or if one was assigned by a
    store that was put back since: its node heeds that until people have confirmed the backup."""

    name = "I3 at most one"

    def __init__(self, state: ClusterState, silences: Silences) -> None:
        self._state = state
        self._silences = silences
        self._live: defaultdict[Slot, list[Run]] = defaultdict(list)
        self._assigned_at: dict[tuple[InstancePlace, int], float] = {}
        self._specs: dict[WorkloadKey, WorkloadDefinition] = {}
        self._was_restored = False

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            place = assigned_place(self._state, entry)
            if place is not None and not entry.previous and entry.value is not None:
                self._assigned_at[place, revision] = virtual_now()
                workload = place.instance.workload_key
                if desired := self._state.workloads.get(workload):
                    self._specs[workload] = desired.record.spec
        yield from ()

    def began(self, run: Run) -> Iterator[Violation]:
        live = self._live[_slot(run)]
        for other in live:
            older, newer = sorted((other, run), key=lambda each: each.assignment)
            if not self._may_be_replaced(older, newer):
                yield Violation(self._state.revision, str(run), f"it runs beside {other}")
        live.append(run)

    def ended(self, run: Run) -> Iterator[Violation]:
        live = self._live[_slot(run)]
        if run in live:
            live.remove(run)
        yield from ()

    def restored(self) -> None:
        self._was_restored = True
        self._live.clear()
        self._assigned_at.clear()

    def _may_be_replaced(self, older: Run, newer: Run) -> bool:
        if self._was_restored and not (self._is_known(older) and self._is_known(newer)):
            return True
        spec = self._specs.get(newer.place.instance.workload_key)
        at = self._assigned_at.get((newer.place, newer.assignment))
        if spec is None or at is None or spec.on_node_lost is not OnNodeLost.REPLACE:
            return False
        return self._silences.was_lost(older.place.node, at, spec.lost_after_seconds)

    def _is_known(self, run: Run) -> bool:
        """Assigned since the store was put back."""
        return (run.place, run.assignment) in self._assigned_at


class GivenUpInTime(Invariant):
    """The leader gives up only what is on a node that has been silent for long enough."""

    name = "I3 patience"

    def __init__(self, state: ClusterState, silences: Silences) -> None:
        self._state = state
        self._silences = silences

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            place = assigned_place(self._state, entry)
            if place is None or entry.value is None or GIVEN_UP.encode() not in entry.value:
                continue
            record = self._state.assignments[place].record
            if record.reason.startswith(f"node {place.node} {GIVEN_UP}"):
                desired = self._state.workloads.get(place.instance.workload_key)
                patience = desired.record.spec.lost_after_seconds if desired else 0.0
                if not self._silences.was_lost(place.node, virtual_now(), patience):
                    says = f"{record.reason}: it had not, at {virtual_now():.3f}"
                    yield Violation(revision, entry.key, says)


def assigned_place(state: ClusterState, entry: Entry) -> InstancePlace | None:
    """The place of an assignment's row; None for other rows."""
    if not entry.key.startswith(state.keys.folder(Kind.ASSIGNMENT)):
        return None
    name = state.keys.parse(entry.key).name
    assert isinstance(name, InstancePlace)
    return name


def _slot(run: Run) -> Slot:
    return run.place.instance.workload_key, run.place.instance.slot
