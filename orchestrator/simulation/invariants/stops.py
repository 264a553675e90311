"""I11 and I9: what runs is stopped only for a good reason, and not too much of it at once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from math import inf

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Assignment, Wanted, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.copies import assigned_place
from orchestrator.simulation.invariants.invariant import Invariant
from orchestrator.simulation.sightings import LATE_SECONDS, Run, wanted_of
from orchestrator.simulation.virtual_time import virtual_now

ASKED_FOR = (
    r"^scaled from|^the workload was deleted| gives way to |gave way to|has been unreachable for"
    r"|^node \S+ is drained|^node \S+ is tainted|^it moves to|has been removed from the cluster"
)
"""Reasons to stop something that are a person's wish, or a lost node's."""

Span = tuple[float, float]
"""From when to when an instance was said to run; the end is infinite while it is."""

REMOVED = "its node has been removed from the cluster"
"""By people, at some time: then its rows are deleted without a word."""

VOLUNTARY = re.compile(r"^node \S+ is drained|^it moves to")
ROLLED_OUT = re.compile(r"^generation ")


class StaticStability(Invariant):
    """Whatever is made to end was stopped by the leader, for a reason that counts.

    `spoilt` are containers of which the runtime has said wrongly that they did not start.
    """

    name = "I11 static stability"

    def __init__(self, state: ClusterState, allowed: str, spoilt: Collection[str]) -> None:
        self._state = state
        self._allowed = re.compile(allowed)
        self._spoilt = spoilt
        self._wanted: dict[InstancePlace, Wanted] = {}
        self._reasons: defaultdict[InstancePlace, list[str]] = defaultdict(list)
        self._removed: set[str] = set()
        self._restored_at = -1.0

    def feed(self, _revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        reports = self._state.keys.folder(Kind.NODE_REPORT)
        for entry in entries:
            if entry.key.startswith(reports) and entry.value is None:
                self._removed.add(entry.key.removeprefix(reports))
            place = assigned_place(self._state, entry)
            if place is not None:
                now, reason = wanted_of(entry)
                if entry.value is None and place.node in self._removed:
                    reason = REMOVED
                if self._wanted.get(place) is Wanted.RUNNING and now is Wanted.STOPPED:
                    self._reasons[place].append(reason)
                self._wanted[place] = now
        yield from ()

    def ended(self, run: Run) -> Iterator[Violation]:
        if not run.was_stopped or run.began <= self._restored_at:
            return
        if str(run.place.instance) in self._spoilt or run.ended == run.began:
            return  # it had been told to end before it began
        if self._is_fenced(run.place) or self._is_of_another_time(run):
            return
        reasons = self._reasons[run.place]
        if not any(map(self._allowed.search, reasons)):
            says = f"it was stopped; the leader's reasons: {reasons}"
            yield Violation(self._state.revision, str(run), says)

    def _is_of_another_time(self, run: Run) -> bool:
        """Its start was under way when the store went back to where nothing was known of it."""
        return self._restored_at >= 0.0 and run.place not in self._wanted

    def _is_fenced(self, place: InstancePlace) -> bool:
        """People have asked for its being stopped when its node is cut off. Their workload may be
        deleted by then, which nobody there can know."""
        assigned = self._state.assignments.get(place)
        return assigned is not None and assigned.record.fence is not None

    def restored(self) -> None:
        self._restored_at = virtual_now()
        assignments = self._state.assignments.items()
        self._wanted = {place: entry.record.wanted for place, entry in assignments}


class Budgets(Invariant):
    """Who may be stopped is stopped only while `min_available` others run, and by a rollout
    while all others do. What has begun or ceased to run a moment ago does not count, or still
    does: the leader could not know."""

    name = "I9 budgets"

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._running: defaultdict[WorkloadKey, dict[InstancePlace, Span]] = defaultdict(dict)

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            if entry.key.startswith(self._state.keys.folder(Kind.OBSERVATION)):
                self._note(entry)
        for entry in entries:
            place = assigned_place(self._state, entry)
            if place is not None and entry.value is not None and entry.previous:
                yield from self._judged(revision, entry, place)

    def restored(self) -> None:
        self._running.clear()
        for place, entry in self._state.observations.items():
            if entry.record.status is WorkloadInstanceStatus.RUNNING:
                self._running[place.instance.workload_key][place] = virtual_now(), inf

    def _note(self, entry: Entry) -> None:
        place = self._state.keys.parse(entry.key).name
        assert isinstance(place, InstancePlace)
        spans = self._running[place.instance.workload_key]
        known = self._state.observations.get(place)
        runs = known is not None and known.record.status is WorkloadInstanceStatus.RUNNING
        since, until = spans.get(place, (inf, -inf))
        if runs and until < inf:
            spans[place] = virtual_now(), inf
        elif not runs and until == inf:
            spans[place] = since, virtual_now()

    def _judged(self, revision: int, entry: Entry, place: InstancePlace) -> Iterator[Violation]:
        record = self._state.assignments[place].record
        desired = self._state.workloads.get(place.instance.workload_key)
        if desired is None or record.wanted is not Wanted.STOPPED or not self._counts(place):
            return
        least = _least(record, desired.record.spec)
        if self._left(place) < least:
            says = f"{record.reason}: {self._left(place)} others run, and {least} must"
            yield Violation(revision, entry.key, says)

    def _counts(self, place: InstancePlace) -> bool:
        """Whether it has long been seen to run: else it is missed by nobody."""
        since, until = self._running[place.instance.workload_key].get(place, (inf, -inf))
        return since <= virtual_now() - LATE_SECONDS and until == inf

    def _left(self, stopped: InstancePlace) -> int:
        spans = self._running[stopped.instance.workload_key].items()
        earliest = virtual_now() - LATE_SECONDS
        return sum(1 for place, (_, until) in spans if place != stopped and until >= earliest)


def _least(record: Assignment, spec: WorkloadDefinition) -> int:
    """How many others must run for this one to be stopped."""
    if ROLLED_OUT.search(record.reason):
        return spec.replicas - 1
    if record.displaced_by or VOLUNTARY.search(record.reason):
        return min(spec.min_available or 0, spec.replicas)
    return 0
