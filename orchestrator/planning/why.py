"""Why a workload or an instance is as it is, and what the nodes would say to one more like it."""

from __future__ import annotations

from itertools import islice

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.explanation import Explanation
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import observation_of, status_of
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.draft import Draft
from orchestrator.planning.filling import failures_by_node
from orchestrator.planning.members import members_of
from orchestrator.planning.occupancy import Occupancy
from orchestrator.planning.pins import pins_of
from orchestrator.scheduler.protocol import Scheduler, ScheduleRequest, Shape

MAX_HELD_SHOWN = 5


def workload_reasons(state: ClusterState, key: WorkloadKey) -> tuple[str, ...]:
    """What is wanted, what there is, and all that waits. Empty if nobody knows the workload."""
    desired, status = state.workloads.get(key), state.statuses.get(key)
    conditions = state.conditions_of(key)
    if desired is None and status is None:
        return conditions
    wanted = desired.record.spec.replicas if desired else 0
    is_unread = state.keys.workload(key) in state.damaged
    is_deleted = "" if desired or is_unread else "it was deleted; "
    if status is None:
        unseen = f"{is_deleted}{wanted} replicas wanted; the leader has not seen it yet"
        return (unseen, *conditions)
    counts = status.record
    there = (
        f"{counts.running} run, {counts.pending} are starting, {counts.failed} have failed,"
        f" {counts.stopping} are stopping"
    )
    first = f"{is_deleted}{wanted} replicas wanted: {there}"
    return (first, *conditions, *counts.waiting, *_held(state, key))


def _held(state: ClusterState, key: WorkloadKey) -> tuple[str, ...]:
    """Of slots whose data leave them no choice, which is not so for one more."""
    desired = state.workloads.get(key)
    if desired is None:
        return ()
    record = desired.record
    pins_by_slot = {
        slot: pins
        for slot in range(record.spec.replicas)
        if (pins := pins_of(state, key, record.generation, slot))
    }
    if not pins_by_slot:
        return ()
    told = [
        f"slot {slot} can be on {pins[0].node} only, which has its volume {pins[0].volume}"
        for slot, pins in islice(pins_by_slot.items(), MAX_HELD_SHOWN)
    ]
    if (rest := len(pins_by_slot) - len(told)) > 0:
        told.append(f"{rest} more slots can only be where their volumes are")
    return (*told, "what the nodes say below is for a slot that has no data yet")


def instance_reasons(state: ClusterState, place: InstancePlace) -> tuple[str, ...]:
    """The last decision on it, how it fares, and why it is where it is."""
    record = state.assignments[place].record
    observation = observation_of(state, place)
    reasons = [f"it is {status_of(state, place).value} on {place.node}{_with_devices(record)}"]
    if record.wanted is Wanted.STOPPED:
        reasons.append(f"it is to stop: {record.reason}")
    else:
        reasons.append(f"it was placed there because: {record.reason}")
    if record.displaced_by:
        reasons.append(f"it gives way to {record.displaced_by}")
    if record.after:
        reasons.append(f"it starts when these have ended: {', '.join(record.after)}")
    if observation is not None and observation.reason:
        reasons.append(f"its node says: {observation.reason}")
    if record.failed_on:
        nodes = ", ".join(record.failed_on)
        reasons.append(f"its slot has failed {record.failures} times in a row, on {nodes}")
    keys = (state.keys.assignment(place), state.keys.observation(place))
    reasons += [state.damaged[key].sentence for key in keys if key in state.damaged]
    return tuple(reasons)


def _with_devices(record: Assignment) -> str:
    if not record.gpus:
        return ""
    noun = "gpu" if len(record.gpus) == 1 else "gpus"
    return f", with {noun} {', '.join(map(str, record.gpus))}"


def gone_reasons(state: ClusterState, name: InstanceName) -> tuple[str, ...]:
    """Of an instance that has no assignment any more: who has its slot now."""
    holders = [
        each for each in state.places_of(name.workload_key) if each.instance.slot == name.slot
    ]
    reasons = [f"there is no instance {name} any more"]
    for holder in holders:
        record = state.assignments[holder].record
        reasons.append(f"its slot is held by {holder.instance} on {holder.node}: {record.reason}")
    if not holders:
        reasons.append("nobody holds its slot")
    return tuple(reasons)


def explain_workload(
    state: ClusterState, key: WorkloadKey, occupancy: Occupancy, scheduler: Scheduler, now: float
) -> Explanation | None:
    """What the nodes would say to one more of it; None if it is not wanted."""
    desired = state.workloads.get(key)
    if desired is None:
        return None
    shape = occupancy.shape(key, desired.record.generation)
    return scheduler.explain(_request(state, shape, now), occupancy.snapshot())


def explain_instance(
    state: ClusterState,
    place: InstancePlace,
    occupancy: Occupancy,
    scheduler: Scheduler,
    now: float,
) -> Explanation:
    """What the nodes would say to it if it were to be placed anew, its own place being free."""
    record = state.assignments[place].record
    name = place.instance
    shape = occupancy.shape_of_slot(name.workload_key, record.generation, name.slot)
    return scheduler.explain(_request(state, shape, now), occupancy.without(place))


def _request(state: ClusterState, shape: Shape, now: float) -> ScheduleRequest:
    key = shape.workload
    members = {member.place: member for member in members_of(state, key, now)}
    draft = Draft(key, None, 0, members, 0)
    name = InstanceName(key.namespace, key.name, 0, 0)
    return ScheduleRequest(name, shape, failures_by_node(draft))
