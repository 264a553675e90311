"""Instances that may run although no assignment of theirs can be read: people edit rows.

Their agents clear away what has lost its row, and leave alone what has an unreadable one. Until
that is done they keep their slots, and their names are never given to others.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import StateError
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.model.views import is_declared_lost, unreachable_seconds
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.draft import Draft
from orchestrator.planning.loss import Brake, Hold, hold_on


class Remains:
    """Of one snapshot."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state

    def of(self, workload: WorkloadKey) -> list[InstancePlace]:
        orphans = self._state.orphans.get(workload, ())
        return sorted({*orphans, *self._unreadable.get(workload, ())})

    @cached_property
    def _unreadable(self) -> dict[WorkloadKey, set[InstancePlace]]:
        state = self._state
        found: defaultdict[WorkloadKey, set[InstancePlace]] = defaultdict(set)
        for place in filter(None, (_assigned_at(state, key) for key in state.damaged)):
            if place not in state.assignments:
                found[place.instance.workload_key].add(place)
        return found


def _assigned_at(state: ClusterState, key: str) -> InstancePlace | None:
    try:
        parsed = state.keys.parse(key)
    except StateError:
        return None
    name = parsed.name
    return name if parsed.kind is Kind.ASSIGNMENT and isinstance(name, InstancePlace) else None


def plan_remains(
    draft: Draft, remains: Remains, state: ClusterState, now: float, brake: Brake
) -> None:
    """Keep the slots of what may still run. Only asked of workloads that fill or lose slots."""
    if (
        draft.spec is not None
        and len(draft.wanted()) >= draft.spec.replicas
        and not draft.vacancies
    ):
        return
    for place in remains.of(draft.key):
        name = place.instance
        if name.attempt > draft.highest.get(name.slot, 0):
            draft.attempt_floor = max(draft.attempt_floor, name.attempt)
        hold = _hold_on(draft, place, state, now, brake)
        if hold is not None:
            draft.held.add(name.slot)
            draft.wait(hold.reason, hold.until)


def _hold_on(
    draft: Draft, place: InstancePlace, state: ClusterState, now: float, brake: Brake
) -> Hold | None:
    name, node = place.instance, place.node
    is_unreadable = state.keys.assignment(place) in state.damaged
    observation = state.observations.get(place)
    if observation is not None and observation.record.status.is_finished and not is_unreadable:
        return None
    silent = unreachable_seconds(state, node, now)
    if silent is not None and (node not in state.reports or is_declared_lost(state, node)):
        return None
    if is_unreadable:
        return Hold(f"the assignment of {name} cannot be read: repair or delete its row")
    if silent is None:
        return Hold(f"{name} has lost its assignment; node {node} has yet to clear it away")
    if draft.spec is None:
        return Hold(f"{name} is stopped as soon as node {node} can be reached")
    return hold_on(draft.spec, place, now - silent, now, brake, fence=None)
