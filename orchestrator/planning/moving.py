"""Where one instance that is to leave its node would go, and why it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.errors import StateError
from orchestrator.model.instance import Wanted, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.missing import no_such_node
from orchestrator.model.views import status_of
from orchestrator.planning.pins import why_held
from orchestrator.planning.simulation import Scene
from orchestrator.scheduler.protocol import AssignNode, Scheduler, ScheduleRequest
from orchestrator.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Destination:
    node: str
    reason: str


def destination(
    scene: Scene, scheduler: Scheduler, place: InstancePlace, to: str = ""
) -> Destination:
    """The node that the instance would have once it has left its own: `to`, or the best one.

    Raises `NodeNotFound`, and `StateError` if it cannot be moved, or not there.
    """
    state = scene.state
    _require_movable(scene, place)
    if to and to not in scene.occupancy.snapshot().facts.index:
        raise no_such_node(state, to)
    if to == place.node:
        raise StateError(f"{place.instance} is on {to} already: name another node, or none")
    record = state.assignments[place].record
    desired = state.workloads.get(place.instance.workload_key)
    generation = desired.record.generation if desired else record.generation
    name = place.instance
    shape = scene.occupancy.shape_of_slot(name.workload_key, generation, name.slot)
    trial = scene.occupancy.without(place).closing(place.node, "is the one that it is to leave")
    request = ScheduleRequest(place.instance, shape, prefer=to, may_displace=False)
    [decision] = scheduler.schedule([request], trial)
    if not isinstance(decision, AssignNode):
        raise StateError(f"{place.instance} stays, as it has no other node: {decision.reason}")
    if to and decision.node != to:
        raise StateError(
            f"{place.instance} stays, as {to} does not take it: {_why(request, scheduler, trial)}"
        )
    return Destination(decision.node, decision.reason)


def _require_movable(scene: Scene, place: InstancePlace) -> None:
    status = status_of(scene.state, place)
    if scene.state.assignments[place].record.wanted is Wanted.STOPPED:
        raise StateError(f"{place.instance} is being stopped already")
    if status.is_finished:
        raise StateError(f"{place.instance} has ended: its slot is filled anew by itself")
    if status is WorkloadInstanceStatus.UNKNOWN:
        raise StateError(
            f"{place.instance} cannot be moved while node {place.node} cannot be reached"
        )
    if held := why_held(scene.state, place):
        raise StateError(f"{place.instance} stays, as {held}, and it has no data elsewhere")


def _why(request: ScheduleRequest, scheduler: Scheduler, trial: Snapshot) -> str:
    answers = scheduler.explain(request, trial).nodes
    said = next(each for each in answers if each.node == request.prefer)
    return "; ".join(said.refusals) or "the scheduler prefers no node by name"
