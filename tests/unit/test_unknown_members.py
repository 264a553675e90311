"""What a newer release says in a record is kept by an older one, with whatever said it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.api.bodies import NodePatch
from orchestrator.api.node_intents import change_node
from orchestrator.api.workload_intents import apply_workload, scale_workload
from orchestrator.controller.writes import mutations_of
from orchestrator.model.actions import Change, Stop
from orchestrator.model.cluster_state import ClusterState, Row
from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import DesiredNode
from orchestrator.model.placement import Taint
from orchestrator.model.records import Schema, dump, load, read
from orchestrator.model.unknown import MAX_UNKNOWN, put_back, set_aside
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
    WorkloadStatus,
)
from store.stamps import stamped
from store.transactions import Mutation, Put

KEYS = Keys("/test/")
KEY = WorkloadKey("default", "web")
ROW, STATUS = KEYS.workload(KEY), KEYS.workload_status(KEY)
PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))
FIRST = ContainerConfig("first", command=("sleep", "60"))
SECOND = ContainerConfig("second", command=("sleep", "60"))
WEB = WorkloadDefinition("web", (FIRST, SECOND))


def tainted(*keys: str) -> tuple[Taint, ...]:
    return tuple(map(Taint, keys))


def tree_of(record: Any) -> Any:
    return json.loads(dump(record))


def newer() -> dict[str, Any]:
    """The rows of a workload and a node as the next release might have written them."""
    desired = tree_of(DesiredWorkload(WEB, 4)) | {"approved_by": "anna"}
    for spec in (desired["spec"], template := tree_of(WEB.template())):
        spec["mesh"] = {"mode": "strict"}
        spec["containers"][1]["nice"] = 5
    desired["spec"]["budget"] = [1, 2]
    assignment = Assignment("default", "web", 4, 0, 1, Wanted.RUNNING, "scaled up")
    return {
        ROW: desired,
        KEYS.revision(KEY, 4): template,
        STATUS: tree_of(WorkloadStatus(4)) | {"rollout": {"step": 3}},
        KEYS.assignment(PLACE): tree_of(assignment) | {"zone": "a", "restart": {"jitter": 0.5}},
        KEYS.desired_node("n1"): tree_of(DesiredNode(taints=tainted("a", "b"))) | {"rack": "r7"},
    }


def state_of(rows: dict[str, Any]) -> ClusterState:
    state = ClusterState(KEYS)
    for key, tree in rows.items():
        value = stamped(json.dumps(tree).encode(), op="7f", base=3, fence=None)
        state.apply(key, Row(value, 5, 5), 1.0)
    assert not state.damaged
    return state


def written(mutations: tuple[Mutation, ...], key: str) -> Any:
    (put,) = (each for each in mutations if isinstance(each, Put) and each.key == key)
    return json.loads(put.value)


def test_scaling_changes_the_replicas_and_leaves_what_it_does_not_know() -> None:
    rows = newer()
    intent = scale_workload(state_of(rows), KEY, 5)
    rows[ROW]["spec"]["replicas"] = 5
    assert written(intent.mutations, ROW) == rows[ROW]


def test_applying_what_is_there_is_no_change_though_more_is_said_of_it() -> None:
    assert apply_workload(state_of(newer()), WEB).changes == ()


def test_a_new_generation_has_what_the_one_before_says_besides() -> None:
    rows = newer()
    changed = WorkloadDefinition("web", (FIRST, SECOND), stop_grace_seconds=3.0)
    intent = apply_workload(state_of(rows), changed)
    template = rows[KEYS.revision(KEY, 4)] | {"stop_grace_seconds": 3.0}
    assert written(intent.mutations, KEYS.revision(KEY, 5)) == template
    spec = written(intent.mutations, ROW)["spec"]
    assert spec == rows[ROW]["spec"] | {"stop_grace_seconds": 3.0}


def test_it_stays_with_the_thing_that_said_it_wherever_that_is_by_now() -> None:
    intent = apply_workload(state_of(newer()), WorkloadDefinition("web", (SECOND, FIRST)))
    for containers in (
        written(intent.mutations, KEYS.revision(KEY, 5))["containers"],
        written(intent.mutations, ROW)["spec"]["containers"],
    ):
        assert [each.get("nice") for each in containers] == [5, None]


def test_it_goes_with_the_thing_that_said_it() -> None:
    intent = apply_workload(state_of(newer()), WorkloadDefinition("web", (FIRST,)))
    row = written(intent.mutations, ROW)
    assert "nice" not in json.dumps(row)
    assert row["spec"]["mesh"] == {"mode": "strict"}


def test_a_person_who_changes_a_node_leaves_what_the_replica_does_not_know() -> None:
    key = KEYS.desired_node("n1")
    intent = change_node(state_of(newer()), "n1", NodePatch(labels={"disk": "ssd"}))
    row = written(intent.mutations, key)
    assert (row["rack"], row["labels"]) == ("r7", {"disk": "ssd"})


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ("ab", ["soon", None]),
        ("ba", [None, "soon"]),
        ("b", [None]),
        ("baa", [None, None, None]),
        ("aab", ["soon", None, None]),
    ],
)
def test_what_has_a_key_is_found_by_it(left: str, expected: list[str | None]) -> None:
    rows = newer()
    rows[KEYS.desired_node("n1")]["taints"][0]["until"] = "soon"
    state = state_of(rows)
    key = KEYS.desired_node("n1")
    value = dump(DesiredNode(taints=tainted(*left)), state.unknown_of(key))
    assert [each.get("until") for each in json.loads(value)["taints"]] == expected


def test_what_has_no_name_stays_at_its_place_while_the_list_keeps_its_length() -> None:
    parsed = KEYS.parse(ROW)
    tree = tree_of(DesiredWorkload(WEB, 1))
    ports = [{"container_port": 80, "alpn": "h2"}, {"container_port": 81}]
    tree["spec"]["containers"][0]["ports"] = ports
    record, unknown = read(parsed, json.dumps(tree).encode())
    assert isinstance(record, DesiredWorkload)
    kept = json.loads(dump(record, unknown))["spec"]["containers"][0]["ports"]
    assert [each.get("alpn") for each in kept] == ["h2", None]
    assert "alpn" not in dump(DesiredWorkload(WEB, 1), unknown).decode()


def test_the_leader_keeps_it_in_what_it_stops_and_counts() -> None:
    rows = newer()
    stop = Stop(PLACE, "scaled down")
    change = Change(KEY, (stop,), WorkloadStatus(4, desired=1))
    mutations = mutations_of(change, state_of(rows))
    assert written(mutations, STATUS) == rows[STATUS] | {"desired": 1}
    assignment = written(mutations, KEYS.assignment(PLACE))
    assert (assignment["wanted"], assignment["zone"]) == ("stopped", "a")
    assert assignment["restart"]["jitter"] == 0.5


def test_a_status_in_another_shape_than_before_loses_only_what_has_no_place() -> None:
    parsed = KEYS.parse(KEYS.assignment(PLACE))
    fence = {"after_seconds": 1.0, "grace_seconds": 2.0, "signal": "HUP"}
    assignment = Assignment("default", "web", 4, 0, 1, Wanted.RUNNING, "scaled up")
    record, unknown = read(parsed, json.dumps(tree_of(assignment) | {"fence": fence}).encode())
    assert isinstance(record, Assignment)
    assert json.loads(dump(record, unknown))["fence"] == fence
    assert json.loads(dump(assignment, unknown))["fence"] is None


def test_where_there_is_no_list_any_more_no_item_is_looked_for() -> None:
    unknown = set_aside({"rules": [{"name": "a", "since": 3}]}, [("rules", 0, "since")])
    tree = {"rules": None}
    put_back(tree, unknown)
    assert tree == {"rules": None}


def test_it_is_forgotten_with_the_row_or_when_the_row_says_it_no_more() -> None:
    rows = newer()
    for end in (None, Row(dump(DesiredWorkload(WEB, 4)), 5, 9)):
        state = state_of(rows)
        assert state.unknown_of(ROW)
        state.apply(ROW, end, 2.0)
        assert not state.unknown_of(ROW)


def test_it_is_remembered_while_the_row_cannot_be_read() -> None:
    state = state_of(newer())
    state.apply(ROW, Row(b"{", 5, 9), 2.0)
    assert state.unknown_of(ROW)


def test_people_are_told_of_it() -> None:
    state = state_of(newer())
    (condition,) = state.conditions_of(KEY)
    assert condition == (
        "its record says spec.containers[1].nice, spec.mesh, spec.budget, approved_by, which this "
        "release does not know: it is kept, and not acted on; look for a slip if no newer release "
        "has been at work here"
    )
    (of_node,) = state.conditions_of("n1")
    assert of_node.startswith("its record says rack, which")


def test_of_many_the_first_are_told() -> None:
    tree = tree_of(DesiredNode()) | {f"m{number}": number for number in range(7)}
    (condition,) = state_of({KEYS.desired_node("n1"): tree}).conditions_of("n1")
    assert condition.startswith("its record says m0, m1, m2, m3, m4 and 2 more, which")


def test_more_than_any_release_would_write_is_damage() -> None:
    many = {f"m{number}": number for number in range(MAX_UNKNOWN + 1)}
    for tree in (tree_of(DesiredNode()) | many, {"taints": [1] * (MAX_UNKNOWN + 1)}):
        with pytest.raises(StateError, match="more than 1000 members are wrong or unknown"):
            load(KEYS.parse(KEYS.desired_node("n1")), json.dumps(tree).encode())


def test_what_is_wrong_besides_is_damage_all_the_same() -> None:
    tree = tree_of(DesiredNode()) | {"rack": "r7", "labels": 5}
    with pytest.raises(StateError, match="desired/nodes of n1 is damaged: labels: "):
        load(KEYS.parse(KEYS.desired_node("n1")), json.dumps(tree).encode())


def test_a_stamp_is_none_of_it_however_it_is_written() -> None:
    key = KEYS.parse(KEYS.schema)
    tree = {"write": {"base": 1, "op": "7f"}, "version": 1, "since": "1.4"}
    for value in (json.dumps(tree), json.dumps(tree, indent=2)):
        record, unknown = read(key, value.encode())
        assert json.loads(dump(record, unknown)) == {
            "version": 1,
            "store_id": "",
            "since": "1.4",
        }
    assert record == Schema()


@pytest.mark.parametrize(
    "value",
    [
        '{"rack": 1, "rack": 2}',
        '{"taints": [{"key": "a", "x": 1}], "taints": [], "rack": 1}',
        '{"taints": [], "rack": 1, "taints": [{"key": "a", "x": 1}]}',
        '{"taints": [{"key": "a", "x": 1, "x": 2}]}',
        '{"rack": %s}' % ("9" * 5000),
        '{"rack": %s}' % ("[" * 150 + "]" * 150),
        '{"rack": "\\ud800"}',
        '{"rack": NaN}',
        '{"": 1, "taints": {"rack": 1}}',
        '{"taints": [{"key": {"rack": 1}, "rack": 1}]}',
    ],
)
def test_whatever_people_have_written_is_read_or_is_damage(value: str) -> None:
    key = KEYS.desired_node("n1")
    state = ClusterState(KEYS)
    state.apply(key, Row(value.encode(), 5, 5), 1.0)
    assert (key in state.damaged) != ("n1" in state.desired_nodes)
    if entry := state.desired_nodes.get("n1"):
        assert load(KEYS.parse(key), dump(entry.record, state.unknown_of(key))) == entry.record
