"""Damaged records: whose condition each is, and what people are told of it everywhere."""

from __future__ import annotations

import pytest

from orchestrator.controller.quarantine import DAMAGED, MAX_TOLD_AT_ONCE, REPAIRED, tellings
from orchestrator.model.cluster_state import MAX_CONDITIONS, ClusterState, Row
from orchestrator.model.damage import ADVICE, MAX_REASON, Damage, damage
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys, Kind
from orchestrator.model.records import dump
from orchestrator.model.views import node_of, workload_of
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.why import instance_reasons, workload_reasons
from tests.support.api import KEYS as API_KEYS
from tests.support.api import manifest, world

KEYS = Keys("/test/")
WEB = WorkloadKey("default", "web")
PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))


def state_with(*spoilt: str) -> ClusterState:
    state = ClusterState(KEYS)
    for revision, key in enumerate(spoilt, 1):
        state.apply(key, Row(b"nonsense", revision, revision), 0.0)
    return state


@pytest.mark.parametrize(
    ("key", "owner", "subject"),
    [
        (KEYS.workload(WEB), WEB, "default/web"),
        (KEYS.revision(WEB, 3), WEB, "default/web"),
        (KEYS.assignment(PLACE), WEB, "default.web.0.1"),
        (KEYS.node_report("n1"), "n1", "n1"),
        (KEYS.session("n1"), "n1", "n1"),
        (KEYS.desired_node("n1"), "n1", "n1"),
        (KEYS.leader, None, ""),
        ("/test/hello", None, ""),
    ],
)
def test_whose_condition_it_is(key: str, owner: object, subject: str) -> None:
    state = state_with(key)
    found = state.damaged[key]
    assert (found.owner, found.subject) == (owner, subject)
    assert set(state.damaged_by_owner) == ({owner} if owner else set())
    state.apply(key, None, 0.0)
    assert not state.damaged
    assert not state.damaged_by_owner


def test_each_kind_has_its_advice() -> None:
    assert set(ADVICE) == set(Kind)


def test_a_workload_of_which_nothing_can_be_read_is_shown_all_the_same() -> None:
    state = state_with(KEYS.workload(WEB))
    assert state.workload_keys() == [WEB]
    shown = workload_of(state, WEB)
    assert not shown.is_deleting
    (condition,) = shown.conditions
    assert condition.startswith("desired/workloads of default/web is damaged: ")
    assert condition.endswith("; apply it again")
    assert workload_reasons(state, WEB) == (condition,)


def test_what_is_wrong_with_a_workload_is_among_its_reasons_and_those_of_its_instance() -> None:
    state = state_with(KEYS.workload_status(WEB))
    record = Assignment("default", "web", 1, 0, 1, Wanted.RUNNING, "so")
    state.apply(KEYS.assignment(PLACE), Row(dump(record), 5, 5), 0.0)
    state.apply(KEYS.assignment(PLACE), Row(b"nonsense", 5, 6), 0.0)
    (told,) = [each for each in instance_reasons(state, PLACE) if "is damaged" in each]
    assert told in workload_of(state, WEB).conditions
    assert len(workload_reasons(state, WEB)) == 2


def test_a_node_has_its_conditions_though_its_last_good_report_counts() -> None:
    state = state_with(KEYS.desired_node("n1"), KEYS.session("n1"))
    assert len(node_of(state, "n1", 0.0).conditions) == 2


def test_no_more_is_told_than_is_read() -> None:
    state = state_with(*(KEYS.revision(WEB, number) for number in range(50)))
    assert len(state.conditions_of(WEB)) == MAX_CONDITIONS
    assert len(damage("x" * 9_000, 1).reason) == MAX_REASON
    assert damage("a \udcff", 1).reason == r"a \xff"
    told = tellings({}, state.damaged)
    assert len(told) == MAX_TOLD_AT_ONCE + 1
    assert told[-1].reason == "and 30 more records: `orc status` lists them"


def test_beginning_and_end_are_told_once_each() -> None:
    was = {"/test/a": Damage("it is odd", 1), "/test/b": Damage("so is it", 2)}
    now = {"/test/a": Damage("it is odd", 9), "/test/c": Damage("and it", 3)}
    assert [(each.kind, each.subject) for each in tellings(was, now)] == [
        (REPAIRED, "/test/b"),
        (DAMAGED, "/test/c"),
    ]
    assert [each.kind for each in tellings(was, now, lambda _: True)] == [REPAIRED]


async def test_the_api_shows_what_is_damaged_whatever_its_key() -> None:
    async with world() as there, there.replica() as replica:
        await replica.call("PUT", "/v1/workloads/default/web", manifest())
        await there.add_node("n1")
        for key in (API_KEYS.workload(WEB), API_KEYS.node_report("n1"), f"{API_KEYS.root}\udcff"):
            await there.put(key, b"\xff")
        await replica.view.reached(there.revision)
        workload = (await replica.get("/v1/workloads/default/web")).body
        node = (await replica.get("/v1/nodes/n1")).body
        cluster = (await replica.get("/v1/cluster")).body
        why = (await replica.get("/v1/workloads/default/web/why")).body
    assert workload["spec"]["replicas"] == 3
    assert node["status"] == "Ready"
    for condition in (*workload["conditions"], *node["conditions"], why["reasons"][1]):
        assert "is damaged" in condition
    assert [each["key"] for each in cluster["damaged"]][-1] == rf"{API_KEYS.root}\xff"
