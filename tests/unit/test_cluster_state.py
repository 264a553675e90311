"""The fold of the mirror: every kind of record, its deletion, its damage and its indexes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.model.cluster_state import ClusterState, Entry, Row
from orchestrator.model.damage import Damage
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import (
    Assignment,
    InstanceName,
    InstanceObservation,
    Move,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import (
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    RevisionName,
    VolumePlace,
)
from orchestrator.model.node import DesiredNode, Event, Leader, NodeReport, NodeSession
from orchestrator.model.records import Record, Schema, dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
    WorkloadStatus,
    WorkloadTemplate,
)

KEYS = Keys("/test/")
WEB = WorkloadKey("default", "web")
SPEC = WorkloadDefinition("web", (ContainerConfig("server", command=("sleep", "60")),))
PLACE = InstancePlace("node-1", InstanceName("default", "web", 0, 3))
REVISION = RevisionName(WEB, 1)
VOLUME = VolumePlace("node-1", VolumeName("default", "web", 0, "content"))


def assigned(place: InstancePlace) -> Assignment:
    name = place.instance
    return Assignment(
        name.namespace, name.workload, 1, name.slot, name.attempt, Wanted.RUNNING, "scaled up"
    )


RECORDS: dict[str, tuple[ParsedKey, Record]] = {
    KEYS.schema: (ParsedKey(Kind.SCHEMA, ""), Schema()),
    KEYS.leader: (ParsedKey(Kind.LEADER, ""), Leader("c1")),
    KEYS.workload(WEB): (ParsedKey(Kind.WORKLOAD, WEB), DesiredWorkload(SPEC, 1)),
    KEYS.workload_status(WEB): (ParsedKey(Kind.WORKLOAD_STATUS, WEB), WorkloadStatus(1)),
    KEYS.revision(*REVISION): (ParsedKey(Kind.REVISION, REVISION), SPEC.template()),
    KEYS.desired_node("node-1"): (ParsedKey(Kind.DESIRED_NODE, "node-1"), DesiredNode()),
    KEYS.node_report("node-1"): (
        ParsedKey(Kind.NODE_REPORT, "node-1"),
        NodeReport("127.0.0.1:7410", NodeResources(), NodeResources()),
    ),
    KEYS.session("node-1"): (ParsedKey(Kind.SESSION, "node-1"), NodeSession("a")),
    KEYS.assignment(PLACE): (ParsedKey(Kind.ASSIGNMENT, PLACE), assigned(PLACE)),
    KEYS.observation(PLACE): (
        ParsedKey(Kind.OBSERVATION, PLACE),
        InstanceObservation(WorkloadInstanceStatus.RUNNING),
    ),
    KEYS.volume(VOLUME): (ParsedKey(Kind.VOLUME, VOLUME), NodeVolume(1.5, 20.0)),
    KEYS.image_pins(*REVISION): (
        ParsedKey(Kind.IMAGE_PINS, REVISION),
        ImagePins({"server": f"docker.io/library/web@sha256:{'0' * 64}"}),
    ),
    KEYS.move(PLACE): (ParsedKey(Kind.MOVE, PLACE), Move("by request", "node-2")),
    KEYS.event(1, "a"): (ParsedKey(Kind.EVENT, "1/a"), Event(1.0, "Started", "web", "x", "c1")),
}


def table(state: ClusterState, parsed: ParsedKey) -> Mapping[object, Entry[Record]]:
    """The part of the state that holds that kind, whatever it is kept in."""
    parts: dict[Kind, object] = {
        Kind.WORKLOAD: state.workloads,
        Kind.WORKLOAD_STATUS: state.statuses,
        Kind.REVISION: state.templates,
        Kind.DESIRED_NODE: state.desired_nodes,
        Kind.NODE_REPORT: state.reports,
        Kind.SESSION: state.sessions,
        Kind.ASSIGNMENT: state.assignments,
        Kind.OBSERVATION: state.observations,
        Kind.MOVE: state.moves,
        Kind.VOLUME: state.volumes,
        Kind.IMAGE_PINS: state.image_pins,
        Kind.EVENT: state.events,
        Kind.SCHEMA: {"": state.schema} if state.schema else {},
        Kind.LEADER: {"": state.leader} if state.leader else {},
    }
    found = parts[parsed.kind]
    assert isinstance(found, dict)
    return found


def put(state: ClusterState, key: str, record: Record, revision: int = 5, now: float = 1.0) -> None:
    state.apply(key, Row(dump(record), 5, revision), now)


def test_every_kind_of_record_is_tried_here() -> None:
    assert {parsed.kind for parsed, _ in RECORDS.values()} == set(Kind)


@pytest.mark.parametrize("key", RECORDS)
def test_a_record_comes_changes_and_goes(key: str) -> None:
    parsed, record = RECORDS[key]
    state = ClusterState(KEYS)
    assert state.apply(key, Row(dump(record), 5, 5), 1.0) == parsed
    assert table(state, parsed) == {parsed.name: Entry(record, 5, 5, 1.0)}
    put(state, key, record, revision=8, now=2.5)
    assert table(state, parsed) == {parsed.name: Entry(record, 5, 8, 2.5)}
    assert state.apply(key, None, 3.0) == parsed
    assert not table(state, parsed)
    assert state == ClusterState(KEYS, session_ended_at=state.session_ended_at)


@pytest.mark.parametrize("key", RECORDS)
def test_a_damaged_record_is_set_aside_and_its_last_good_version_stays(key: str) -> None:
    parsed, record = RECORDS[key]
    state = ClusterState(KEYS)
    put(state, key, record)
    state.apply(key, Row(b"{oops", 5, 9), 2.0)
    assert table(state, parsed) == {parsed.name: Entry(record, 5, 9, 1.0)}
    assert state.damaged[key].mod_revision == 9
    assert "is damaged: the record: Invalid JSON" in state.damaged[key].reason
    put(state, key, record, revision=10, now=3.0)
    assert not state.damaged
    assert table(state, parsed) == {parsed.name: Entry(record, 5, 10, 3.0)}


BY_BEING_THERE = {
    KEYS.session("node-1"),
    KEYS.node_report("node-1"),
    KEYS.volume(VOLUME),
    KEYS.image_pins(*REVISION),
}


@pytest.mark.parametrize("key", [key for key in RECORDS if key not in BY_BEING_THERE])
def test_a_record_that_was_never_good_is_only_damage(key: str) -> None:
    parsed, _ = RECORDS[key]
    state = ClusterState(KEYS)
    assert state.apply(key, Row(b"{oops", 5, 5), 1.0) == parsed
    assert not table(state, parsed)
    assert list(state.damaged) == [key]
    state.apply(key, None, 2.0)
    assert not state.damaged


def test_a_session_that_cannot_be_read_is_a_sign_of_life_all_the_same() -> None:
    state = ClusterState(KEYS)
    state.apply(KEYS.session("node-1"), Row(b"{", 5, 5), now=1.0)
    assert state.sessions["node-1"].record.agent_id == ""
    assert KEYS.session("node-1") in state.damaged
    assert "node-1" not in state.session_ended_at


def test_a_node_whose_report_cannot_be_read_is_there_all_the_same() -> None:
    state = ClusterState(KEYS)
    key = KEYS.node_report("node-1")
    state.apply(key, Row(b"{", 5, 5), now=1.0)
    state.apply(key, Row(b"[", 5, 6), now=2.0)
    entry = state.reports["node-1"]
    assert (entry.mod_revision, entry.seen_at) == (6, 1.0)
    assert "cannot be read" in entry.record.problem
    assert entry.record.runtimes == ()
    state.apply(key, None, now=3.0)
    assert not state.reports


def test_a_stranger_under_our_root_is_told_and_forgotten_when_it_goes() -> None:
    state = ClusterState(KEYS)
    assert state.apply("/test/hello", Row(b"{}", 5, 5), 1.0) is None
    assert state.damaged == {
        "/test/hello": Damage("'/test/hello' is no key of the orchestrator", 5)
    }
    assert state.apply("/test/hello", None, 2.0) is None
    assert not state.damaged


def test_when_a_session_ended_is_remembered_until_the_next_one() -> None:
    state = ClusterState(KEYS)
    put(state, KEYS.session("node-1"), NodeSession("a"), now=1.0)
    assert not state.session_ended_at
    state.apply(KEYS.session("node-1"), None, 7.0)
    assert state.session_ended_at == {"node-1": 7.0}
    put(state, KEYS.session("node-1"), NodeSession("a"), now=9.0)
    assert not state.session_ended_at


def test_room_is_released_by_what_ends_and_by_what_goes() -> None:
    state = ClusterState(KEYS)
    put(state, KEYS.assignment(PLACE), assigned(PLACE))
    put(state, KEYS.observation(PLACE), InstanceObservation(WorkloadInstanceStatus.RUNNING))
    assert state.releases == 0
    put(state, KEYS.observation(PLACE), InstanceObservation(WorkloadInstanceStatus.FAILED))
    assert state.releases == 1
    state.apply(KEYS.observation(PLACE), None, 2.0)
    assert state.releases == 1
    state.apply(KEYS.assignment(PLACE), None, 2.0)
    assert state.releases == 2


def test_places_are_found_by_workload_and_by_node() -> None:
    state = ClusterState(KEYS)
    places = [
        InstancePlace("node-2", InstanceName("default", "web", 1, 1)),
        InstancePlace("node-1", InstanceName("default", "web", 0, 10)),
        InstancePlace("node-2", InstanceName("default", "web", 0, 9)),
        InstancePlace("node-2", InstanceName("default", "api", 0, 1)),
    ]
    for place in places:
        put(state, KEYS.assignment(place), assigned(place))
    assert state.places_of(WEB) == [places[2], places[1], places[0]]
    assert state.places_by_node["node-2"] == {places[0], places[2], places[3]}
    assert list(state.find_instance(places[1].instance)) == [places[1]]
    assert not list(state.find_instance(InstanceName("default", "web", 7, 1)))
    for place in places[:3]:
        state.apply(KEYS.assignment(place), None, 2.0)
    assert state.places_of(WEB) == []
    assert state.places_by_node == {"node-2": {places[3]}}


def test_deleting_what_was_never_there_is_nothing() -> None:
    state = ClusterState(KEYS)
    state.apply(KEYS.assignment(PLACE), None, 1.0)
    assert state == ClusterState(KEYS)


def test_every_trace_of_a_workload_or_a_node_counts() -> None:
    state = ClusterState(KEYS)
    put(state, KEYS.workload(WEB), DesiredWorkload(SPEC, 1))
    put(state, KEYS.workload_status(WorkloadKey("a", "status")), WorkloadStatus(1))
    put(state, KEYS.revision(WorkloadKey("a", "template"), 1), SPEC.template())
    left = InstancePlace("node-1", InstanceName("a", "instance", 0, 1))
    put(state, KEYS.assignment(left), assigned(left))
    assert [str(key) for key in state.workload_keys()] == [
        "a/instance", "a/status", "a/template", "default/web",
    ]  # fmt: skip
    put(state, KEYS.session("c"), NodeSession("c"))
    put(state, KEYS.desired_node("b"), DesiredNode())
    put(state, KEYS.node_report("a"), NodeReport("", NodeResources(), NodeResources()))
    assert state.node_names() == ["a", "b", "c"]


def test_templates_are_found_by_assignment_and_sorted_by_generation() -> None:
    state = ClusterState(KEYS)
    assert state.template_of(PLACE) is None
    put(state, KEYS.assignment(PLACE), assigned(PLACE))
    assert state.template_of(PLACE) is None
    for generation in (10, 1, 9):
        template = WorkloadTemplate(SPEC.containers, stop_grace_seconds=generation)
        put(state, KEYS.revision(WEB, generation), template)
    assert state.template_of(PLACE) == WorkloadTemplate(SPEC.containers, stop_grace_seconds=1)
    assert state.revisions_of(WEB) == [RevisionName(WEB, number) for number in (1, 9, 10)]


def test_a_copy_has_all_but_events_and_goes_its_own_way() -> None:
    state = ClusterState(KEYS, 7)
    for key, (_, record) in RECORDS.items():
        put(state, key, record)
    state.apply(KEYS.session("node-2"), None, 2.0)
    orphan = PLACE._replace(node="node-2")
    put(state, KEYS.observation(orphan), InstanceObservation(WorkloadInstanceStatus.RUNNING))
    state.apply("/test/strange", Row(b"{}", 3, 4), 1.0)
    told: list[ParsedKey] = []
    state.followers.append(told.append)
    copy = state.copy()
    state.events.clear()
    assert copy == state
    assert copy.damaged
    for key in (*RECORDS, KEYS.observation(orphan)):
        copy.apply(key, None, 3.0)
    assert (copy.orphans, state.orphans) == ({}, {WEB: {orphan}})
    assert (copy.workload_keys(), copy.node_names(), copy.places_by_node) == ([], [], {})
    assert (told, state.places_of(WEB), list(state.moves)) == ([], [PLACE], [PLACE])
    assert state.workload_keys() == [WEB]


def test_a_wish_to_move_is_found_by_its_workload_be_the_instance_there_or_not() -> None:
    state = ClusterState(KEYS)
    put(state, KEYS.move(PLACE), Move("by request"))
    assert state.moves_of(WEB) == {PLACE: Move("by request")}
    assert state.workload_keys() == [WEB]
    state.apply(KEYS.move(PLACE), None, 2.0)
    assert (state.moves_of(WEB), state.workload_keys()) == ({}, [])


def test_the_data_of_a_slot_are_found_by_it_and_by_their_node() -> None:
    state = ClusterState(KEYS)
    others = [
        VOLUME._replace(node="node-2"),
        VolumePlace("node-1", VolumeName("default", "web", 0, "cache")),
        VolumePlace("node-1", VolumeName("default", "web", 1, "content")),
    ]
    for place in (VOLUME, *others):
        put(state, KEYS.volume(place), NodeVolume(1.0))
    assert state.volumes_of(WEB, 0) == [others[1], VOLUME, others[0]]
    assert state.volumes_on("node-1") == [others[1], VOLUME, others[2]]
    assert state.workload_keys() == [], "data outlive their workload"
    state.apply(KEYS.volume(VOLUME), None, 2.0)
    assert state.volumes_of(WEB, 0) == [others[1], others[0]]


def test_data_whose_record_cannot_be_read_are_there_all_the_same() -> None:
    state = ClusterState(KEYS)
    state.apply(KEYS.volume(VOLUME), Row(b"{", 5, 5), now=1.0)
    assert state.volumes_of(WEB, 0) == [VOLUME]
    assert KEYS.volume(VOLUME) in state.damaged


def test_image_pins_are_found_by_their_workload_and_are_a_trace_of_it() -> None:
    state = ClusterState(KEYS)
    for generation in (10, 9):
        put(state, KEYS.image_pins(WEB, generation), ImagePins({"server": "x"}))
    assert state.image_pins_of(WEB) == [RevisionName(WEB, 9), RevisionName(WEB, 10)]
    assert state.revisions_of(WEB) == []
    assert state.workload_keys() == [WEB]
