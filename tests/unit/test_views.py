"""What people are shown: records joined, and raw states classified once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model.cluster_state import ClusterState, Row
from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    InstanceName,
    InstanceObservation,
    PortBinding,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import Availability, DesiredNode, NodeReport, NodeSession, NodeStatus
from orchestrator.model.placement import Taint
from orchestrator.model.records import Record, dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.views import (
    DOWN_AFTER_SECONDS,
    instance_of,
    node_of,
    observation_of,
    status_of,
    unreachable_seconds,
    workload_of,
)
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
    WorkloadStatus,
)

KEYS = Keys("/test/")
WEB = WorkloadKey("default", "web")
SPEC = WorkloadDefinition("web", (ContainerConfig("server", command=("sleep", "60")),))
PLACE = InstancePlace("node-1", InstanceName("default", "web", 0, 3))
ASSIGNED = 40
"""The create_revision of the assignment at PLACE."""

REPORT = NodeReport(
    "127.0.0.1:7410",
    capacity=NodeResources(2, 4096),
    allocatable=NodeResources(1.5, 4000),
    labels={"zone": "a", "disk": "ssd"},
    hostname="hal",
    gpus=("T4", "T4"),
)
Status = WorkloadInstanceStatus


def state_of(records: dict[str, Record], now: float = 10.0) -> ClusterState:
    state = ClusterState(KEYS)
    for key, record in records.items():
        state.apply(key, Row(dump(record), ASSIGNED, ASSIGNED + 1), now)
    return state


def with_instance(
    observation: InstanceObservation | None = None,
    *,
    wanted: Wanted = Wanted.RUNNING,
    is_reachable: bool = True,
) -> ClusterState:
    records: dict[str, Record] = {
        KEYS.assignment(PLACE): Assignment("default", "web", 1, 0, 3, wanted, "scaled up", 2)
    }
    if observation:
        records[KEYS.observation(PLACE)] = observation
    if is_reachable:
        records[KEYS.session("node-1")] = NodeSession("a")
    return state_of(records)


def test_a_node_is_what_people_and_its_agent_say_of_it() -> None:
    state = with_instance()
    records: dict[str, Record] = {
        KEYS.node_report("node-1"): REPORT,
        KEYS.desired_node("node-1"): DesiredNode(
            Availability.CORDONED, labels={"zone": "b"}, taints=(Taint("gpu"),)
        ),
    }
    for key, record in records.items():
        state.apply(key, Row(dump(record), 1, 1), 10.0)
    node = node_of(state, "node-1", 11.0)
    assert (node.status, node.reason, node.is_ready) == (NodeStatus.READY, "", True)
    assert node.availability is Availability.CORDONED
    assert node.labels == {"zone": "b", "disk": "ssd"}
    assert (node.allocatable, node.hostname, node.instances) == (REPORT.allocatable, "hal", 1)
    assert node.unreachable_seconds is None
    assert (node.taints, node.gpus) == ((Taint("gpu"),), ("T4", "T4"))


def test_a_node_that_has_not_reported_or_reports_a_problem_is_not_ready() -> None:
    session: dict[str, Record] = {KEYS.session("node-1"): NodeSession("a")}
    silent = node_of(state_of(session), "node-1", 11.0)
    assert (silent.status, silent.reason) == (
        NodeStatus.NOT_READY,
        "its agent has not reported yet",
    )
    sick = NodeReport("", NodeResources(), NodeResources(), problem="the disk is full")
    node = node_of(state_of({**session, KEYS.node_report("node-1"): sick}), "node-1", 11.0)
    assert (node.status, node.reason) == (NodeStatus.NOT_READY, "the disk is full")


def test_a_node_without_a_session_is_unknown_then_down() -> None:
    state = state_of({KEYS.node_report("node-1"): REPORT, KEYS.session("node-1"): NodeSession("a")})
    state.apply(KEYS.session("node-1"), None, 20.0)
    soon = node_of(state, "node-1", 21.0)
    assert (soon.status, soon.unreachable_seconds) == (NodeStatus.UNKNOWN, 1.0)
    assert soon.reason == "its agent's session has ended"
    assert node_of(state, "node-1", 20.0 + DOWN_AFTER_SECONDS).status is NodeStatus.DOWN


def test_a_person_may_declare_a_node_lost_before_that() -> None:
    lost = DesiredNode(is_declared_lost=True)
    state = state_of({KEYS.node_report("node-1"): REPORT})
    state.apply(KEYS.desired_node("node-1"), Row(dump(lost), 900, 900), 0.0)
    node = node_of(state, "node-1", 10.0)
    assert (node.status, node.reason) == (NodeStatus.DOWN, "declared lost by an operator")
    state.apply(KEYS.node_report("node-1"), Row(dump(REPORT), 1, 901), 0.0)
    assert node_of(state, "node-1", 10.0).status is NodeStatus.UNKNOWN


def test_durations_run_from_when_this_process_first_saw_the_fact() -> None:
    state = state_of({KEYS.node_report("node-1"): REPORT}, now=10.0)
    assert unreachable_seconds(state, "node-1", 14.0) == 4.0
    assert unreachable_seconds(state, "node-1", 9.0) == 0.0
    assert unreachable_seconds(state, "nobody", 14.0) == 0.0


def test_an_instance_is_its_assignment_with_what_its_agent_says() -> None:
    observation = InstanceObservation(
        Status.RUNNING,
        assignment=ASSIGNED,
        ports=(PortBinding("server", 8080, 20_001),),
        containers=(ContainerObservation("server", pid=7),),
        started_at=5.0,
    )
    instance = instance_of(with_instance(observation), PLACE)
    assert (instance.name, instance.node) == ("default.web.0.3", "node-1")
    assert (instance.status, instance.reason) == (Status.RUNNING, "")
    assert (instance.assigned_because, instance.failures) == ("scaled up", 2)
    assert instance.ports == observation.ports
    assert instance.containers == observation.containers


def test_an_instance_has_its_devices_and_says_who_gives_way_to_whom() -> None:
    preempting = Assignment(
        *("default", "web", 1, 0, 3, Wanted.RUNNING, "the only fit"),
        gpus=(0, 3),
        after=("default.batch.0.1",),
    )
    instance = instance_of(state_of({KEYS.assignment(PLACE): preempting}), PLACE)
    assert (instance.gpus, instance.after) == ((0, 3), ("default.batch.0.1",))
    victim = replace(preempting, gpus=(), after=(), displaced_by="default.db.0.1")
    instance = instance_of(state_of({KEYS.assignment(PLACE): victim}), PLACE)
    assert (instance.gpus, instance.displaced_by) == ((), "default.db.0.1")


def test_what_was_said_of_an_earlier_namesake_does_not_count() -> None:
    state = with_instance(InstanceObservation(Status.FAILED, assignment=ASSIGNED - 1))
    assert observation_of(state, PLACE) is None
    assert instance_of(state, PLACE).status is Status.PENDING
    elsewhere = InstancePlace("node-2", PLACE.instance)
    assert observation_of(state, elsewhere) is None


@pytest.mark.parametrize(
    ("said", "wanted", "is_reachable", "status"),
    [
        (None, Wanted.RUNNING, True, Status.PENDING),
        (Status.RUNNING, Wanted.RUNNING, True, Status.RUNNING),
        (Status.RUNNING, Wanted.STOPPED, True, Status.TERMINATING),
        (Status.RUNNING, Wanted.RUNNING, False, Status.UNKNOWN),
        (Status.RUNNING, Wanted.STOPPED, False, Status.UNKNOWN),
        (Status.FAILED, Wanted.STOPPED, False, Status.FAILED),
        (Status.SUCCEEDED, Wanted.RUNNING, True, Status.SUCCEEDED),
    ],
)
def test_one_word_for_an_instance(
    said: Status | None, wanted: Wanted, is_reachable: bool, status: Status
) -> None:
    observation = InstanceObservation(said, assignment=ASSIGNED) if said else None
    state = with_instance(observation, wanted=wanted, is_reachable=is_reachable)
    assert status_of(state, PLACE) is status
    assert instance_of(state, PLACE).status is status


def test_an_unknown_instance_says_which_node_cannot_be_reached() -> None:
    running = InstanceObservation(Status.RUNNING, assignment=ASSIGNED, reason="all is well")
    state = with_instance(running, is_reachable=False)
    assert instance_of(state, PLACE).reason == "node node-1 cannot be reached"


def test_a_workload_is_its_definition_and_its_status() -> None:
    status = WorkloadStatus(2, desired=1, running=1)
    desired = DesiredWorkload(SPEC, 3)
    workload = workload_of(
        state_of({KEYS.workload(WEB): desired, KEYS.workload_status(WEB): status}), WEB
    )
    assert (workload.generation, workload.mod_revision) == (3, ASSIGNED + 1)
    assert (workload.spec, workload.status, workload.is_deleting) == (SPEC, status, False)


def test_a_workload_that_is_no_longer_wanted_is_being_deleted() -> None:
    left = workload_of(state_of({KEYS.workload_status(WEB): WorkloadStatus(2)}), WEB)
    assert (left.generation, left.spec, left.is_deleting) == (2, None, True)
    new = workload_of(state_of({KEYS.workload(WEB): DesiredWorkload(SPEC, 1)}), WEB)
    assert new.status == WorkloadStatus(1)
    gone = workload_of(state_of({}), WEB)
    assert (gone.generation, gone.mod_revision) == (0, 0)
