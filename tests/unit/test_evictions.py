"""Stories of instances that have to leave their nodes though they run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model.actions import Place, Plan, Stop
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import (
    Placement,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster

KEY = web().key
DRAINED = DesiredNode(Availability.DRAINING)
EVIL = Taint("evil", effect=TaintEffect.NO_EXECUTE)


def running(replicas: int, nodes: int = 3, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, **changes))
    cluster.settle()
    return cluster


def on(cluster: PlannedCluster, node: str) -> list[str]:
    places = [each.instance for each in cluster.places() if each.node == node]
    return [f"{each.slot}.{each.attempt}" for each in places]


def stopped(made: Plan) -> list[str]:
    return [
        f"{action.place.instance.slot}.{action.place.instance.attempt}"
        for change in made.changes
        for action in change.actions
        if isinstance(action, Stop)
    ]


def bearing(*seconds: float | None) -> Placement:
    return Placement(
        tolerations=tuple(
            Toleration("evil", TolerationOperator.EXISTS, seconds=each) for each in seconds
        )
    )


# Drained


def test_a_drained_node_is_left_one_by_one_until_it_is_empty() -> None:
    cluster = running(6)
    cluster.say_of_node("n1", DRAINED)
    least = 6
    while on(cluster, "n1"):
        assert len(stopped(cluster.lead())) <= 1
        least = min(least, len(cluster.places()))
        cluster.work()
    cluster.settle()
    assert least == 5
    assert len(cluster.places()) == 6
    assert {place.node for place in cluster.places()} == {"n2", "n3"}


def test_why_the_next_one_stays_for_now_is_told() -> None:
    cluster = running(4, nodes=2)
    cluster.say_of_node("n1", DRAINED)
    made = cluster.lead()
    assert stopped(made) == ["0.1"]
    reasons = [each.reason for change in made.changes for each in change.actions]
    assert reasons == ["node n1 is drained"]
    assert (
        "default.web.2.1 is to leave, as node n1 is drained: one at a time, when default.web.0.1"
        " has stopped"
    ) in cluster.waiting()
    cluster.work()
    cluster.lead()
    assert (
        "default.web.2.1 is to leave, as node n1 is drained: one at a time, when default.web.0.2"
        " runs"
    ) in cluster.waiting()


def test_who_follows_says_why() -> None:
    cluster = running(1, nodes=2)
    cluster.say_of_node("n1", DRAINED)
    cluster.settle()
    (place,) = cluster.places()
    reason = cluster.state.assignments[place].record.reason
    assert place.node == "n2"
    assert reason.startswith("follows default.web.0.1, stopped because node n1 is drained; of 1")


def test_a_budget_lets_as_many_leave_at_once_as_it_has() -> None:
    cluster = running(6, nodes=2, min_available=4)
    cluster.say_of_node("n1", DRAINED)
    assert stopped(cluster.lead()) == ["0.1", "2.1"]
    assert "default.web.4.1 is to leave, as node n1 is drained: 4 run, and 4 must" in (
        cluster.waiting()
    )
    cluster.settle()
    assert on(cluster, "n1") == []
    assert len(on(cluster, "n2")) == 6


def test_a_budget_of_all_of_them_keeps_everybody_where_he_is() -> None:
    cluster = running(2, nodes=2, min_available=2)
    cluster.say_of_node("n1", DRAINED)
    cluster.settle()
    assert on(cluster, "n1") == ["0.1"]
    assert cluster.waiting() == (
        "default.web.0.1 is to leave, as node n1 is drained: 2 run, and 2 must",
    )


def test_who_does_not_run_yet_leaves_at_once_and_costs_no_budget() -> None:
    cluster = running(2, nodes=2, min_available=2)
    cluster.apply(web(6, min_available=2))
    cluster.lead()
    starting = on(cluster, "n1")[1:]
    cluster.say_of_node("n1", DRAINED)
    assert stopped(cluster.lead()) == starting == ["2.1", "4.1"]


def test_nothing_new_comes_to_a_drained_node() -> None:
    cluster = running(1, nodes=2)
    cluster.say_of_node("n2", DRAINED)
    cluster.apply(web(8))
    cluster.settle()
    assert on(cluster, "n2") == []
    assert len(on(cluster, "n1")) == 8


def test_who_is_taken_back_in_the_middle_keeps_what_is_left() -> None:
    cluster = running(6, nodes=2)
    cluster.say_of_node("n1", DRAINED)
    cluster.lead()
    cluster.say_of_node("n1", DesiredNode())
    cluster.settle()
    assert on(cluster, "n1") == ["0.2", "2.1", "4.1"]


def test_each_workload_has_its_own_turn() -> None:
    cluster = running(2, nodes=2)
    cluster.apply(web(2, name="db"))
    cluster.settle()
    cluster.say_of_node("n1", DRAINED)
    assert stopped(cluster.lead()) == ["0.1", "0.1"]


def test_where_there_is_no_other_room_one_goes_and_the_rest_stay() -> None:
    """As the budget says: who wants all to stay says so with `min_available`."""
    large = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(cpu_cores=4))
    cluster = running(2, nodes=2, containers=(large,))
    cluster.say_of_node("n1", DRAINED)
    cluster.say_of_node("n2", DRAINED)
    cluster.settle()
    assert len(cluster.places()) == 1
    assert any("slot 0 has no node: none of 2 nodes fits" in each for each in cluster.waiting())


# Tainted with NoExecute


def test_a_taint_that_is_not_borne_clears_the_node_at_once() -> None:
    cluster = running(6, nodes=2, min_available=6)
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    made = cluster.lead()
    assert stopped(made) == ["0.1", "2.1", "4.1"]
    assert {each.reason for change in made.changes for each in change.actions} == {
        "node n1 is tainted evil:NoExecute"
    }
    cluster.settle()
    assert len(on(cluster, "n2")) == 6


@pytest.mark.parametrize("effect", [TaintEffect.NO_SCHEDULE, TaintEffect.PREFER_NO_SCHEDULE])
def test_other_taints_evict_nobody(effect: TaintEffect) -> None:
    cluster = running(2, nodes=2)
    cluster.say_of_node("n1", DesiredNode(taints=(replace(EVIL, effect=effect),)))
    assert cluster.plan().changes == ()


def test_who_bears_it_stays() -> None:
    cluster = running(2, nodes=2, placement=bearing(None))
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    assert cluster.plan().changes == ()


@pytest.mark.parametrize("seconds", [(60.0,), (300.0, 60.0), (60.0, None)])
def test_who_bears_it_for_a_while_goes_then(seconds: tuple[float | None, ...]) -> None:
    cluster = running(1, nodes=2, placement=bearing(*seconds))
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    seen_at = cluster.now
    cluster.wait(59)
    made = cluster.lead()
    assert stopped(made) == []
    assert made.wake_at == {KEY: seen_at + 60}
    assert made.waiting[KEY] == (
        "default.web.0.1 may stay a while: node n1 is tainted evil:NoExecute",
    )
    cluster.wait(1)
    assert stopped(cluster.lead()) == ["0.1"]


def test_of_several_taints_the_first_to_end_counts() -> None:
    cluster = running(1, nodes=2, placement=bearing(60.0))
    worse = Taint("worse", effect=TaintEffect.NO_EXECUTE)
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL, worse)))
    made = cluster.lead()
    assert stopped(made) == ["0.1"]


def test_what_starts_there_has_to_leave_like_what_runs() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(web(2))
    cluster.lead()
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    assert stopped(cluster.lead()) == ["0.1"]


def test_a_taint_does_not_wait_for_the_drain_of_the_same_node() -> None:
    cluster = running(4, nodes=2)
    both = replace(DRAINED, taints=(EVIL,))
    cluster.say_of_node("n1", both)
    assert stopped(cluster.lead()) == ["0.1", "2.1"]


def test_a_drain_does_not_wait_for_a_taint_that_is_borne_for_a_while() -> None:
    cluster = running(4, nodes=2, placement=bearing(60.0))
    cluster.say_of_node("n1", replace(DRAINED, taints=(EVIL,)))
    assert stopped(cluster.lead()) == ["0.1"]
    cluster.wait(60)
    assert stopped(cluster.lead()) == ["2.1"]


def test_without_a_template_nothing_is_borne() -> None:
    cluster = running(1, nodes=2, placement=bearing(None))
    cluster.drop(cluster.keys.revision(KEY, 1))
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    assert stopped(cluster.lead()) == ["0.1"]


def test_a_deleted_workload_is_stopped_for_that_reason() -> None:
    cluster = running(1, nodes=2)
    cluster.say_of_node("n1", DRAINED)
    cluster.delete(KEY)
    (change,) = cluster.plan().changes
    assert [each.reason for each in change.actions] == ["the workload was deleted"]


def test_who_follows_finds_a_node_without_the_taint() -> None:
    cluster = running(3)
    cluster.say_of_node("n1", DesiredNode(taints=(EVIL,)))
    cluster.lead()
    cluster.work()
    made = cluster.lead()
    placed = [
        action.place.node
        for change in made.changes
        for action in change.actions
        if isinstance(action, Place)
    ]
    assert placed in (["n2"], ["n3"])
