"""What has become of a cluster in a simulation, beside what it was: a plain comparison."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from orchestrator.model.actions import Stop
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.forecast import (
    Fate,
    Forecast,
    InstanceForecast,
    NodeForecast,
    WorkloadForecast,
)
from orchestrator.model.instance import InstanceName, Wanted, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import status_of
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.loads import node_loads
from orchestrator.planning.rehearsal import running_of
from orchestrator.planning.simulation import Simulation
from orchestrator.planning.status import shortened
from orchestrator.scheduler.protocol import Scheduler, ScheduleRequest
from orchestrator.scheduler.snapshot import Snapshot

MAX_EXPLAINED = 20
"""Workloads for which it is worked out what would help: each asks all nodes many questions."""


def findings(
    state: ClusterState,
    now: float,
    snapshot: Snapshot,
    made: Simulation,
    scheduler: Scheduler,
) -> Forecast:
    """`state` and its `snapshot` are as before."""
    touched, after = sorted(made.touched), made.scene.occupancy.snapshot()
    return Forecast(
        is_settled=made.is_settled,
        seconds=made.rehearsal.now - now,
        instances=tuple(each for key in touched for each in _instances(state, made, key)),
        workloads=tuple(shortfalls(state, made, scheduler)),
        nodes=tuple(_nodes(_Side(state, snapshot), _Side(made.scene.state, after))),
    )


def _slots(state: ClusterState, workload: WorkloadKey) -> dict[int, InstancePlace]:
    """Who is wanted in each slot: the last attempt, should there be two."""
    return {
        place.instance.slot: place
        for place in state.places_of(workload)
        if state.assignments[place].record.wanted is Wanted.RUNNING
    }


def _instances(
    state: ClusterState, made: Simulation, workload: WorkloadKey
) -> Iterator[InstanceForecast]:
    after = made.scene.state
    old, new = _slots(state, workload), _slots(after, workload)
    for slot in sorted({*old, *new}):
        was, becomes = old.get(slot), new.get(slot)
        if was == becomes:
            if was and _runs(state, was) and not _runs(after, was):
                yield _lost(made, was)
        elif becomes is None:
            assert was is not None
            yield _stopped(made, was)
        else:
            yield _placed(made, was, becomes)


def _runs(state: ClusterState, place: InstancePlace) -> bool:
    return status_of(state, place) is WorkloadInstanceStatus.RUNNING


def _lost(made: Simulation, place: InstancePlace) -> InstanceForecast:
    reason = f"node {place.node} cannot be reached"
    told = made.waiting.get(place.instance.workload_key, ())
    own = next((each for each in told if _concerns(each, place)), "")
    why = "; ".join(filter(None, (reason, own)))
    return InstanceForecast(Fate.LOST, str(place.instance), why, place.node)


def _concerns(sentence: str, place: InstancePlace) -> bool:
    return sentence.startswith((f"{place.instance} ", f"slot {place.instance.slot} "))


def _stopped(made: Simulation, place: InstancePlace) -> InstanceForecast:
    action = made.rehearsal.stopped[place.instance.workload_key, place.instance.slot]
    return InstanceForecast(
        Fate.STOPPED,
        str(place.instance),
        action.reason,
        place.node,
        displaced_by=action.displaced_by if isinstance(action, Stop) else "",
    )


def _placed(
    made: Simulation, was: InstancePlace | None, becomes: InstancePlace
) -> InstanceForecast:
    name = becomes.instance
    stop = made.rehearsal.stopped.get((name.workload_key, name.slot)) if was else None
    return InstanceForecast(
        _fate(was, becomes),
        str(becomes.instance),
        made.scene.state.assignments[becomes].record.reason,
        was.node if was else "",
        becomes.node,
        stop.displaced_by if isinstance(stop, Stop) else "",
    )


def _fate(was: InstancePlace | None, becomes: InstancePlace) -> Fate:
    if was is None:
        return Fate.PLACED
    return Fate.RENEWED if was.node == becomes.node else Fate.MOVED


def shortfalls(
    state: ClusterState, made: Simulation, scheduler: Scheduler
) -> Iterator[WorkloadForecast]:
    """The workloads that have too few at any moment; a deleted one wants none."""
    after = made.scene.state
    explained = 0
    for workload in sorted(made.touched):
        desired = after.workloads.get(workload)
        running = running_of(after, workload)
        lowest = made.rehearsal.lowest.get(workload, running)
        if desired is None or min(lowest, running) >= desired.record.spec.replicas:
            continue
        is_short = running < desired.record.spec.replicas
        suggestions: tuple[str, ...] = ()
        if is_short and explained < MAX_EXPLAINED:
            explained += 1
            suggestions = _suggestions(made, workload, desired.record.generation, scheduler)
        yield WorkloadForecast(
            workload=str(workload),
            wanted=desired.record.spec.replicas,
            running_before=running_of(state, workload),
            lowest=min(lowest, running),
            running_after=running,
            min_available=desired.record.spec.min_available,
            waiting=shortened(made.waiting.get(workload, ())) if is_short else (),
            suggestions=suggestions,
        )


def _suggestions(
    made: Simulation, workload: WorkloadKey, generation: int, scheduler: Scheduler
) -> tuple[str, ...]:
    """What would help the first slot that has nobody, if it is room that is missing."""
    occupancy = made.scene.occupancy
    held = _slots(made.scene.state, workload).items()
    running = {slot for slot, place in held if _runs(made.scene.state, place)}
    slot = next(slot for slot in count() if slot not in running)
    one_more = InstanceName(workload.namespace, workload.name, slot, 0)
    request = ScheduleRequest(one_more, occupancy.shape_of_slot(workload, generation, slot))
    return scheduler.explain(request, occupancy.snapshot()).suggestions


class _Side:
    """Before or after: how much each node that can be reached holds."""

    def __init__(self, state: ClusterState, snapshot: Snapshot) -> None:
        self.nodes = {
            name: at for name, at in snapshot.facts.index.items() if name in state.sessions
        }
        self._held: list[int] = snapshot.held.tolist()
        self._loads: list[int] = node_loads(snapshot).tolist()

    def of(self, node: str) -> tuple[int, int | None]:
        at = self.nodes.get(node)
        return (0, None) if at is None else (self._held[at], self._loads[at])


def _nodes(before: _Side, after: _Side) -> Iterator[NodeForecast]:
    for name in sorted({*before.nodes, *after.nodes}):
        old, new = before.of(name), after.of(name)
        if old != new:
            yield NodeForecast(name, old[0], new[0], old[1], new[1])
