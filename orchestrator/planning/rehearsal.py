"""`Rehearsal`: a perfect cluster. What is planned is done at once, and nothing ever fails.

It works on a copy of the state, in rounds as the leader's and the agents' take turns: plans are
committed as the leader would, stops are confirmed, then what is assigned runs. Only when nothing
else is left to do does time go on, to the moment when somebody's patience ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from orchestrator.model.actions import Action, Change, Forget, Place, Plan, Stop
from orchestrator.model.cluster_state import ClusterState, Entry
from orchestrator.model.instance import (
    Assignment,
    ExitCause,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey, VolumePlace
from orchestrator.model.node import Availability
from orchestrator.model.placement import TaintEffect
from orchestrator.model.views import status_of
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import WorkloadKey

Status = WorkloadInstanceStatus


class Rehearsal:
    """`lowest` has the fewest instances of each workload that ran at any moment since `watch`;
    `stopped` by slot why, and for whom, its last instance was stopped, or forgotten."""

    def __init__(self, state: ClusterState, now: float) -> None:
        self.state = state
        self.now = now
        self.lowest: dict[WorkloadKey, int] = {}
        self.stopped: dict[tuple[WorkloadKey, int], Stop | Forget] = {}
        self._due: set[InstancePlace] = set()
        self._changed: set[WorkloadKey] = set()
        state.followers.append(self._follow)

    def _follow(self, parsed: ParsedKey) -> None:
        assert parsed.workload is not None, "nothing is rehearsed but what becomes of workloads"
        self._changed.add(parsed.workload)
        if isinstance(parsed.name, InstancePlace):
            self._due.add(parsed.name)

    def changed(self) -> set[WorkloadKey]:
        """The workloads of which a record has changed since this was asked last."""
        changed, self._changed = self._changed, set()
        return changed

    def watch(self, workloads: Iterable[WorkloadKey]) -> None:
        """Note how many of them run now."""
        for workload in workloads:
            running = running_of(self.state, workload)
            self.lowest[workload] = min(running, self.lowest.get(workload, running))

    def commit(self, plan: Plan) -> None:
        """Each change is one transaction, and so is each unit."""
        for unit in (*((change,) for change in plan.changes), *plan.together):
            self.state.revision += 1
            for change in unit:
                self._commit(change)

    def _commit(self, change: Change) -> None:
        for action in change.actions:
            self._carry_out(action)
        self._fold(Kind.WORKLOAD_STATUS, change.workload, change.status)
        for name in change.forgotten_revisions:
            self._fold(Kind.REVISION, name, None)
        for name in change.forgotten_image_pins:
            self._fold(Kind.IMAGE_PINS, name, None)

    def _carry_out(self, action: Action) -> None:
        place = action.place
        slot = (place.instance.workload_key, place.instance.slot)
        match action:
            case Place():
                self._fold(Kind.ASSIGNMENT, place, action.assignment)
            case Stop():
                self.stopped[slot] = action
                stopped = replace(
                    self.state.assignments[place].record,
                    wanted=Wanted.STOPPED,
                    reason=action.reason,
                    displaced_by=action.displaced_by,
                )
                self._fold(Kind.ASSIGNMENT, place, stopped)
            case Forget():
                self.stopped.setdefault(slot, action)
                self._fold(Kind.ASSIGNMENT, place, None)
                if action.with_observation:
                    self._fold(Kind.OBSERVATION, place, None)
                if action.with_move:
                    self._fold(Kind.MOVE, place, None)
            case _:
                self._fold(Kind.MOVE, place, None)

    def _fold(self, kind: Kind, name: Any, record: Any) -> None:
        parsed = ParsedKey(kind, name)
        if record is None:
            self.state.fold(parsed, None, self.now)
            return
        known = self.state.known(parsed)
        created = known.create_revision if known else self.state.revision
        self.state.fold(parsed, Entry(record, created, self.state.revision, self.now), self.now)

    def begin(self) -> None:
        """Look for whatever the agents have yet to do."""
        self._due.update(self.state.observations.keys() - self.state.assignments.keys())
        self._due.update(place for place in self.state.assignments if not self._is_done(place))

    def work(self) -> None:
        """Every agent that can be reached does what it is told: what is to stop stops before
        anything starts, and a workload's low point is in between."""
        due, self._due = sorted(self._due), set()
        self.state.revision += 1
        starting = [place for place in due if not self._stop(place)]
        self.watch({place.instance.workload_key for place in due})
        for place in starting:
            entry = self.state.assignments[place]
            self._report(place, InstanceObservation(Status.RUNNING, entry.create_revision))
            self._keep_volumes(place)
        self._due.clear()

    def _stop(self, place: InstancePlace) -> bool:
        """False if it is rather to be started."""
        if place.node not in self.state.sessions:
            return True
        entry = self.state.assignments.get(place)
        if entry is None:
            self._report(place, None)
        elif entry.record.wanted is Wanted.STOPPED and not self._is_done(place):
            ended = InstanceObservation(
                Status.SUCCEEDED, entry.create_revision, cause=ExitCause.STOPPED
            )
            self._report(place, ended)
        return entry is None or self._is_done(place)

    def _report(self, place: InstancePlace, observation: InstanceObservation | None) -> None:
        self._fold(Kind.OBSERVATION, place, observation)

    def _keep_volumes(self, place: InstancePlace) -> None:
        """It has data on its node from now on."""
        template = self.state.template_of(place)
        namespace, workload, slot, _ = place.instance
        for volume in template.local_volumes() if template else ():
            kept = VolumePlace(place.node, VolumeName(namespace, workload, slot, volume))
            if kept not in self.state.volumes:
                self._fold(Kind.VOLUME, kept, NodeVolume(created_at=0.0))

    def _is_done(self, place: InstancePlace) -> bool:
        """Whether its agent has nothing left to do for it."""
        entry, known = self.state.assignments[place], self.state.observations.get(place)
        if known is None or known.record.assignment != entry.create_revision:
            return False
        is_wanted = entry.record.wanted is Wanted.RUNNING
        return known.record.status.is_finished or (
            is_wanted and known.record.status is Status.RUNNING
        )


def running_of(state: ClusterState, workload: WorkloadKey) -> int:
    places = state.places_by_workload.get(workload, ())
    return sum(1 for place in places if status_of(state, place) is Status.RUNNING)


def unsettled(state: ClusterState) -> set[WorkloadKey]:
    """The workloads of which a plan may have something to say: all but those that run as they are
    wanted, on nodes that they may stay on."""
    found = {
        key
        for key in state.workload_keys()
        if key not in state.workloads or not _is_full(state, key) or state.moves_of(key)
    }
    fine = {node for node in state.sessions if not _evicts(state, node)}
    for place, entry in state.assignments.items():
        workload = place.instance.workload_key
        if workload not in found and not (place.node in fine and _is_steady(state, place, entry)):
            found.add(workload)
    return found


def _is_steady(state: ClusterState, place: InstancePlace, entry: Entry[Assignment]) -> bool:
    record, known = entry.record, state.observations.get(place)
    if known is None or record.wanted is Wanted.STOPPED:
        return False
    runs = known.record.status is Status.RUNNING
    is_current = record.generation == state.workloads[place.instance.workload_key].record.generation
    return runs and is_current and known.record.assignment == entry.create_revision


def _is_full(state: ClusterState, key: WorkloadKey) -> bool:
    """Whether it has an instance in each of as many slots as it wants, and no other."""
    places = state.places_by_workload.get(key, ())
    slots = {place.instance.slot for place in places}
    return len(places) == len(slots) == state.workloads[key].record.spec.replicas


def _evicts(state: ClusterState, node: str) -> bool:
    entry = state.desired_nodes.get(node)
    if entry is None:
        return False
    is_draining = entry.record.availability is Availability.DRAINING
    return is_draining or any(each.effect is TaintEffect.NO_EXECUTE for each in entry.record.taints)
