"""Records: tolerant of what newer releases add, precise about what is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model.errors import StateError
from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    InstanceName,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey, RevisionName
from orchestrator.model.node import DesiredNode, Leader, NodeSession
from orchestrator.model.records import dump, load
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
)
from store.stamps import stamp_of, stamped
from store.transactions import Leadership

KEY = WorkloadKey("default", "web")
WORKLOAD = ParsedKey(Kind.WORKLOAD, KEY)
TEMPLATE = ParsedKey(Kind.REVISION, RevisionName(KEY, 1))
SESSION = ParsedKey(Kind.SESSION, "node-1")
PLACE = InstancePlace("node-1", InstanceName("default", "web", 0, 3))
ASSIGNMENT = ParsedKey(Kind.ASSIGNMENT, PLACE)
OBSERVATION = ParsedKey(Kind.OBSERVATION, PLACE)

WEB = WorkloadDefinition("web", (ContainerConfig("server", command=("sleep", "60")),))
ASSIGNED = Assignment("default", "web", 1, 0, 3, Wanted.RUNNING, "scaled up")


def edited(**members: Any) -> bytes:
    """The stored workload after a person has changed its spec with etcdctl."""
    value = json.loads(dump(DesiredWorkload(WEB, 1)))
    value["spec"].update(members)
    return json.dumps(value).encode()


def damage(parsed: ParsedKey, value: bytes) -> str:
    with pytest.raises(StateError) as caught:
        load(parsed, value)
    return str(caught.value)


def test_records_are_json_that_a_person_can_read() -> None:
    assert json.loads(dump(ASSIGNED)) == {
        "namespace": "default",
        "workload": "web",
        "generation": 1,
        "slot": 0,
        "attempt": 3,
        "wanted": "running",
        "reason": "scaled up",
    }


def test_the_many_records_are_written_without_what_goes_without_saying() -> None:
    preempting = replace(ASSIGNED, gpus=(0, 3), after=("default.batch.0.1",), failed_on=("n1",))
    told = {"gpus": [0, 3], "after": ["default.batch.0.1"], "failed_on": ["n1"]}
    assert json.loads(dump(preempting)) == json.loads(dump(ASSIGNED)) | told
    running = InstanceObservation(
        WorkloadInstanceStatus.RUNNING, containers=(ContainerObservation("a", exit_code=0),)
    )
    assert json.loads(dump(running)) == {
        "status": "Running",
        "containers": [{"name": "a", "exit_code": 0}],
    }
    assert load(OBSERVATION, dump(running)) == running
    killed = ContainerObservation("a", exit_code=137, image="x@sha256:0", is_oom_killed=True)
    ended = InstanceObservation(
        WorkloadInstanceStatus.FAILED, containers=(killed,), address="10.117.0.2"
    )
    assert json.loads(dump(ended)) == {
        "status": "Failed",
        "containers": [
            {"name": "a", "exit_code": 137, "image": "x@sha256:0", "is_oom_killed": True}
        ],
        "address": "10.117.0.2",
    }


def test_the_few_are_written_in_full() -> None:
    assert json.loads(dump(DesiredNode())) == {
        "availability": "active",
        "labels": {},
        "is_declared_lost": False,
        "taints": [],
    }


def test_members_that_nobody_knows_yet_are_passed_over() -> None:
    value = json.loads(dump(ASSIGNED)) | {"priority": 7, "nested": {"a": [1]}}
    assert load(ASSIGNMENT, json.dumps(value).encode()) == ASSIGNED


def test_members_that_are_left_out_have_their_defaults() -> None:
    parsed = ParsedKey(Kind.DESIRED_NODE, "node-1")
    assert load(parsed, b"{}") == DesiredNode()
    assert load(SESSION, b'{"agent_id": "a"}') == NodeSession("a")


def test_stamped_values_are_read_as_if_they_had_no_stamp() -> None:
    value = stamped(dump(ASSIGNED), op="7f", base=12, fence=Leadership("/leader", 9))
    assert load(ASSIGNMENT, value) == ASSIGNED
    assert stamp_of(value) == {"epoch": 9, "base": 12, "op": "7f"}


def test_replicas_edited_by_hand_are_obeyed() -> None:
    record = load(WORKLOAD, edited(replicas=7))
    assert isinstance(record, DesiredWorkload)
    assert record.spec.replicas == 7


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "observed/sessions of node-1 is damaged: the record: Invalid JSON: EOF while"),
        (b"\xff\xfe", "observed/sessions of node-1 is damaged: the record: Invalid JSON:"),
        (b"[]", "observed/sessions of node-1 is damaged: the record: Input should be an object"),
        (b"{}", "observed/sessions of node-1 is damaged: agent_id: Field required"),
        (
            b'{"agent_id": "a", "pid": "x"}',
            "observed/sessions of node-1 is damaged: pid: Input should be a valid integer",
        ),
    ],
)
def test_damage_names_the_record_and_the_member(value: bytes, sentence: str) -> None:
    assert damage(SESSION, value).startswith(sentence)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_none_are_damage(number: bytes) -> None:
    value = b'{"address": "", "capacity": {"cpu_cores": %s}, "allocatable": {}}' % number
    assert damage(ParsedKey(Kind.NODE_REPORT, "node-1"), value) == (
        "observed/nodes of node-1 is damaged: capacity.cpu_cores: Input should be a finite number"
    )


def test_a_workload_edited_by_hand_is_held_to_the_rules_of_manifests() -> None:
    assert damage(WORKLOAD, edited(replicas=100_001)) == (
        "desired/workloads of default/web is damaged: replicas is 100001: it must be 0 to 100000"
    )
    assert damage(WORKLOAD, edited(containers=[])) == (
        "desired/workloads of default/web is damaged:"
        " containers is empty: a workload has 1 to 100 containers"
    )


def test_so_is_a_template() -> None:
    value = b'{"containers": [{"name": "a", "command": ["x"], "ports": [{"container_port": 0}]}]}'
    assert damage(TEMPLATE, value) == (
        "desired/revisions of default/web/1 is damaged:"
        " containers[0].ports[0].container_port is 0: it must be 1 to 65535"
    )


def test_constraints_edited_by_hand_are_held_to_the_rules_as_well() -> None:
    unmet = [{"key": "zone", "operator": "Exists"}, {"key": "zone", "operator": "DoesNotExist"}]
    assert damage(WORKLOAD, edited(placement={"nodes": unmet})) == (
        "desired/workloads of default/web is damaged:"
        " placement.nodes is 'zone, no zone': no node can meet all of that"
    )
    assert damage(WORKLOAD, edited(gang=True, replicas=101)) == (
        "desired/workloads of default/web is damaged:"
        " replicas is 101: a gang has at most 50, which are placed all at once"
    )


def test_a_record_must_agree_with_its_key() -> None:
    assert damage(WORKLOAD, edited(name="api")) == (
        "the workload default/web holds the definition of default/api"
    )
    other = dump(Assignment("default", "web", 1, 0, 4, Wanted.RUNNING, "scaled up"))
    assert damage(ASSIGNMENT, other) == (
        "the assignment default.web.0.3 holds that of default.web.0.4"
    )


def test_a_leader_needs_no_more_than_a_name() -> None:
    assert load(ParsedKey(Kind.LEADER, ""), b'{"replica": "c1"}') == Leader("c1")
