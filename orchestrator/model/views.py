"""What people are shown: records joined, raw states classified once.

The planner decides on these same classes, so that what `orc` shows is what the leader acts on.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    InstanceObservation,
    PastExit,
    PortBinding,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability, DesiredNode, NodeReport, NodeStatus
from orchestrator.model.placement import Taint
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey, WorkloadStatus

DOWN_AFTER_SECONDS = 30.0
"""A node whose session ended is Unknown at first, then Down. It decides nothing but words:
instances are replaced by their own workload's `lost_after_seconds`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as seen from here. `pid` is its agent's, on that host, and `unreachable_seconds` is
    None, while its session lives. `gpus` has the model of each device, by its index. What
    `allowed_binds`, `allows_privileged` and `has_watchdog` mean is said in `NodeReport`.
    `conditions` tell of its records that cannot be read; the last good ones stay in force."""

    name: str
    status: NodeStatus
    availability: Availability
    address: str
    capacity: NodeResources
    allocatable: NodeResources
    runtimes: tuple[str, ...]
    labels: dict[str, str]
    versions: dict[str, str]
    hostname: str
    instances: int
    pid: int = 0
    reason: str = ""
    unreachable_seconds: float | None = None
    is_declared_lost: bool = False
    taints: tuple[Taint, ...] = ()
    gpus: tuple[str, ...] = ()
    allowed_binds: tuple[str, ...] = ()
    allows_privileged: bool = False
    has_watchdog: bool = False
    conditions: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        return self.status is NodeStatus.READY


@dataclass(frozen=True, slots=True)
class WorkloadInstance:
    """An instance as seen from here: its assignment joined with its agent's observation.

    `gpus` are the indices of its devices on its node. It starts when those in `after` have
    stopped; `displaced_by` is what it is stopped for. `address` is its own on its node's network.
    """

    name: str
    namespace: str
    workload: str
    slot: int
    attempt: int
    generation: int
    node: str
    status: WorkloadInstanceStatus
    wanted: Wanted
    reason: str
    assigned_because: str
    failures: int
    ports: tuple[PortBinding, ...] = ()
    containers: tuple[ContainerObservation, ...] = ()
    started_at: float | None = None
    finished_at: float | None = None
    gpus: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    displaced_by: str = ""
    address: str = ""
    restarts: int = 0
    exits: tuple[PastExit, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload with its status. `is_deleting`: no longer wanted, but not all confirmed gone.
    `conditions` tell of its records that cannot be read; the last good ones stay in force."""

    name: str
    namespace: str
    generation: int
    mod_revision: int
    is_deleting: bool
    spec: WorkloadDefinition | None
    status: WorkloadStatus
    conditions: tuple[str, ...] = ()


def node_of(state: ClusterState, name: str, now: float) -> Node:
    """The node of that name; one that nobody knows is Down, with no capacity."""
    report_entry = state.reports.get(name)
    report = report_entry.record if report_entry else _NO_REPORT
    desired_entry = state.desired_nodes.get(name)
    desired = desired_entry.record if desired_entry else DesiredNode()
    unreachable = unreachable_seconds(state, name, now)
    status, reason = _node_status(
        report, unreachable, is_declared_lost=is_declared_lost(state, name)
    )
    return Node(
        name=name,
        status=status,
        availability=desired.availability,
        address=report.address,
        capacity=report.capacity,
        allocatable=report.allocatable,
        runtimes=report.runtimes,
        labels={**report.labels, **desired.labels},
        versions=report.versions,
        hostname=report.hostname,
        instances=len(state.places_by_node.get(name, ())),
        pid=session.record.pid if (session := state.sessions.get(name)) else 0,
        reason=reason,
        unreachable_seconds=unreachable,
        is_declared_lost=is_declared_lost(state, name),
        taints=desired.taints,
        gpus=report.gpus,
        allowed_binds=report.allowed_binds,
        allows_privileged=report.allows_privileged,
        has_watchdog=report.has_watchdog,
        conditions=state.conditions_of(name),
    )


_NO_REPORT = NodeReport("", NodeResources(), NodeResources(), runtimes=())


def unreachable_seconds(state: ClusterState, name: str, now: float) -> float | None:
    """For how long this process has seen no session of that node; None while there is one."""
    if name in state.sessions:
        return None
    report = state.reports.get(name)
    since = state.session_ended_at.get(name, report.seen_at if report else now)
    return max(0.0, now - since)


def is_watched(state: ClusterState, name: str) -> bool:
    """Whether the node has said, when it was last heard of, that a watchdog is at work there."""
    report = state.reports.get(name)
    return report is not None and report.record.has_watchdog


def is_declared_lost(state: ClusterState, name: str) -> bool:
    """Whether a person's word that nothing runs there still holds: it ends with the next session,
    in which the node's agent reports anew."""
    desired, report = state.desired_nodes.get(name), state.reports.get(name)
    if desired is None or not desired.record.is_declared_lost or name in state.sessions:
        return False
    return report is None or desired.mod_revision > report.mod_revision


def _node_status(
    report: NodeReport, unreachable: float | None, *, is_declared_lost: bool
) -> tuple[NodeStatus, str]:
    if unreachable is None:
        if report is _NO_REPORT:
            return NodeStatus.NOT_READY, "its agent has not reported yet"
        return (NodeStatus.NOT_READY, report.problem) if report.problem else (NodeStatus.READY, "")
    if is_declared_lost:
        return NodeStatus.DOWN, "declared lost by an operator"
    status = NodeStatus.DOWN if unreachable >= DOWN_AFTER_SECONDS else NodeStatus.UNKNOWN
    return status, "its agent's session has ended"


def instance_of(state: ClusterState, place: InstancePlace) -> WorkloadInstance:
    """The instance assigned at `place`. Raises `KeyError` if there is none."""
    assignment = state.assignments[place]
    observation = observation_of(state, place)
    status = status_of(state, place)
    reason = observation.reason if observation else ""
    if status is WorkloadInstanceStatus.UNKNOWN:
        reason = f"node {place.node} cannot be reached"
    return _joined(place, assignment.record, observation, status, reason)


def _joined(
    place: InstancePlace,
    assignment: Assignment,
    observation: InstanceObservation | None,
    status: WorkloadInstanceStatus,
    reason: str,
) -> WorkloadInstance:
    return WorkloadInstance(
        name=str(place.instance),
        namespace=place.instance.namespace,
        workload=place.instance.workload,
        slot=place.instance.slot,
        attempt=place.instance.attempt,
        generation=assignment.generation,
        node=place.node,
        status=status,
        wanted=assignment.wanted,
        reason=reason,
        assigned_because=assignment.reason,
        failures=assignment.failures,
        ports=observation.ports if observation else (),
        containers=observation.containers if observation else (),
        started_at=observation.started_at if observation else None,
        finished_at=observation.finished_at if observation else None,
        gpus=assignment.gpus,
        after=assignment.after,
        displaced_by=assignment.displaced_by,
        address=observation.address if observation else "",
        restarts=observation.restarts if observation else 0,
        exits=observation.exits if observation else (),
    )


def observation_of(state: ClusterState, place: InstancePlace) -> InstanceObservation | None:
    """What the agent says of *this* assignment; not what it said of an earlier namesake."""
    assignment = state.assignments.get(place)
    entry = state.observations.get(place)
    if assignment is None or entry is None:
        return None
    return entry.record if entry.record.assignment == assignment.create_revision else None


def status_of(state: ClusterState, place: InstancePlace) -> WorkloadInstanceStatus:
    """One word for an assigned instance. What has finished stays finished, reachable or not."""
    observation = observation_of(state, place)
    status = observation.status if observation else WorkloadInstanceStatus.PENDING
    if status.is_finished:
        return status
    if place.node not in state.sessions:
        return WorkloadInstanceStatus.UNKNOWN
    if state.assignments[place].record.wanted is Wanted.STOPPED:
        return WorkloadInstanceStatus.TERMINATING
    return status


def workload_of(state: ClusterState, key: WorkloadKey) -> Workload:
    """A workload that is wanted or of which something is left."""
    desired = state.workloads.get(key)
    status = state.statuses.get(key)
    generation = desired.record.generation if desired else 0
    return Workload(
        name=key.name,
        namespace=key.namespace,
        generation=generation or (status.record.generation if status else 0),
        mod_revision=desired.mod_revision if desired else 0,
        is_deleting=desired is None and state.keys.workload(key) not in state.damaged,
        spec=desired.record.spec if desired else None,
        status=status.record if status else WorkloadStatus(generation),
        conditions=state.conditions_of(key),
    )
