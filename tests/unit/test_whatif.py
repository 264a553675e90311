"""What if: stories of changes that nobody has made, and of what would come of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model.errors import ConfigError, NodeNotFound, WorkloadNotFound
from orchestrator.model.forecast import Fate, NodeForecast
from orchestrator.model.instance import ExitCause, Move
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import PriorityClass, Taint, TaintEffect
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, OnNodeLost, WorkloadKey
from orchestrator.planning import simulation
from orchestrator.planning.hypotheses import (
    AddNodes,
    ApplyWorkload,
    DrainNode,
    Hypothesis,
    LoseNode,
    ScaleWorkload,
)
from orchestrator.planning.rehearsal import unsettled
from orchestrator.simulation.samples import web
from tests.support.forecasts import foreseen, told, ways
from tests.support.planned_cluster import PlannedCluster, Status

KEY = web().key
HALF = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(cpu_cores=2))


def running(replicas: int = 3, nodes: int = 3, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, **changes))
    cluster.settle()
    return cluster


def test_nothing_comes_of_a_settled_cluster_and_nothing_is_written() -> None:
    cluster = running()
    before = cluster.state.copy()
    forecast = foreseen(cluster, LoseNode(cluster.place_of(0).node), ScaleWorkload(KEY, 9))
    assert forecast.instances
    assert cluster.state == before
    calm = foreseen(cluster)
    assert (calm.is_settled, calm.seconds) == (True, 0.0)
    assert (calm.instances, calm.workloads, calm.nodes) == ((), (), ())


def test_a_lost_node_has_its_instances_replaced_when_patience_ends() -> None:
    cluster = running(3, containers=(HALF,))
    lost = cluster.place_of(0)
    forecast = foreseen(cluster, LoseNode(lost.node))
    [moved] = forecast.instances
    assert (moved.fate, moved.instance, moved.from_node) == (
        Fate.MOVED,
        "default.web.0.2",
        lost.node,
    )
    assert moved.reason.startswith(
        f"replaces default.web.0.1: node {lost.node} has been unreachable for 30 s; of 2 nodes"
    )
    assert (forecast.seconds, forecast.is_settled, forecast.unplaced) == (30.0, True, ())
    [short] = forecast.workloads
    assert (short.wanted, short.running_before, short.lowest, short.running_after) == (3, 3, 2, 3)
    assert forecast.nodes == (
        NodeForecast(lost.node, 1, 0, 500, None),
        NodeForecast(moved.to_node, 1, 2, 500, 1000),
    )


def test_what_has_no_other_node_is_lost_with_the_reason_and_what_would_help() -> None:
    cluster = running(2, nodes=2, containers=(replace(HALF, resource_requests=NodeResources(4)),))
    lost = cluster.place_of(0)
    forecast = foreseen(cluster, LoseNode(lost.node))
    [gone] = forecast.instances
    assert (gone.fate, gone.instance, gone.to_node) == (Fate.LOST, str(lost.instance), "")
    assert gone.reason.startswith(
        f"node {lost.node} cannot be reached; slot 0 has no node: none of 2 nodes fits"
    )
    [short] = forecast.unplaced
    assert (short.workload, short.missing) == ("default/web", 1)
    assert short.waiting[0] in gone.reason
    assert short.suggestions


def test_what_runs_at_most_once_is_not_replaced() -> None:
    cluster = running(1, on_node_lost=OnNodeLost.WAIT)
    place = cluster.place_of(0)
    [gone] = foreseen(cluster, LoseNode(place.node)).instances
    assert gone.fate is Fate.LOST
    assert "on_node_lost is `wait`" in gone.reason
    [moved] = foreseen(cluster, LoseNode(place.node, for_good=True)).instances
    assert moved.fate is Fate.MOVED
    assert f"node {place.node} has been removed" in moved.reason


def test_a_node_that_is_gone_for_good_leaves_nothing() -> None:
    cluster = running(2, nodes=2)
    place = cluster.place_of(0)
    cluster.say_of_node(place.node, DesiredNode(labels={"a": "b"}))
    forecast = foreseen(cluster, LoseNode(place.node, for_good=True))
    assert forecast.nodes[0] == NodeForecast(place.node, 1, 0, 0, None)
    assert forecast.seconds == 0
    cluster.lose(place.node)
    [moved] = foreseen(cluster, LoseNode(place.node, for_good=True)).instances
    assert moved.fate is Fate.MOVED


def test_a_drained_node_is_left_without_falling_below_the_minimum() -> None:
    cluster = running(4, nodes=2, min_available=3)
    cluster.say_of_node("n1", DesiredNode(labels={"a": "b"}))
    forecast = foreseen(cluster, DrainNode("n1"))
    assert [each.fate for each in forecast.instances] == [Fate.MOVED] * 2
    [short] = forecast.workloads
    assert (short.lowest, short.min_available, short.is_below_minimum) == (3, 3, False)
    [also] = foreseen(cluster, LoseNode("n1")).workloads
    assert (also.lowest, also.is_below_minimum) == (2, True)


def test_new_nodes_take_what_waits() -> None:
    cluster = running(8, nodes=2, containers=(HALF,))
    cluster.say_of_node("n1", DesiredNode(Availability.CORDONED, labels={"zone": "a"}))
    cluster.put(cluster.keys.desired_node("new-1"), DesiredNode())
    forecast = foreseen(cluster, AddNodes(2, "n1"))
    assert [way[:2] + way[3:] for way in ways(forecast)] == [
        ("placed", f"default.web.{slot}.1", node)
        for slot, node in zip(range(4, 8), ("new-2", "new-3") * 2, strict=True)
    ]
    assert forecast.nodes[-1] == NodeForecast("new-3", 0, 2, None, 1000)
    assert foreseen(cluster, AddNodes(1, "n2")).unplaced[0].missing == 2


def test_scaling_places_and_stops() -> None:
    cluster = running(3)
    assert ways(foreseen(cluster, ScaleWorkload(KEY, 1))) == [
        ("stopped", f"default.web.{slot}.1", cluster.place_of(slot).node, "") for slot in (1, 2)
    ]
    assert foreseen(cluster, ScaleWorkload(KEY, 0)).workloads == ()
    assert [way[0] for way in ways(foreseen(cluster, ScaleWorkload(KEY, 5)))] == ["placed"] * 2


def test_a_new_manifest_and_another_one_are_rolled_out() -> None:
    cluster = running(3)
    changed = foreseen(cluster, ApplyWorkload(web(3, stop_grace_seconds=3.0)))
    assert {each.fate for each in changed.instances} <= {Fate.RENEWED, Fate.MOVED}
    assert len(changed.instances) == 3
    assert changed.workloads[0].lowest == 2
    new = foreseen(cluster, ApplyWorkload(replace(web(2), name="db")))
    assert [each.instance for each in told(new)] == ["default.db.0.1", "default.db.1.1"]
    assert foreseen(cluster, ApplyWorkload(web(3, labels={"a": "b"}))).instances == ()


def test_who_is_displaced_is_told_with_whom_he_gives_way_to() -> None:
    cluster = running(2, nodes=1, containers=(HALF,), priority=PriorityClass.LOW)
    urgent = replace(web(1), name="db", containers=(HALF,), priority=PriorityClass.HIGH)
    forecast = foreseen(cluster, ApplyWorkload(urgent))
    placed, stopped = told(forecast)
    assert (placed.fate, placed.instance) == (Fate.PLACED, "default.db.0.1")
    assert (stopped.fate, stopped.displaced_by) == (Fate.STOPPED, "default.db.0.1")
    assert forecast.unplaced[0].workload == "default/web"


def test_a_workload_that_is_deleted_already_goes_on_going() -> None:
    cluster = running(2)
    cluster.delete(KEY)
    forecast = foreseen(cluster)
    assert [each.fate for each in forecast.instances] == [Fate.STOPPED] * 2
    assert [each.reason for each in forecast.instances] == ["the workload was deleted"] * 2
    assert forecast.workloads == ()
    cluster.lose(cluster.place_of(0).node)
    assert len(foreseen(cluster, LoseNode(cluster.place_of(1).node, for_good=True)).instances) == 2


def test_what_is_under_way_comes_to_its_end() -> None:
    cluster = running(3)
    moving, failing, orphan = cluster.places()
    cluster.put(cluster.keys.move(moving), Move("by request"))
    cluster.report(failing, Status.FAILED, cause=ExitCause.EXITED)
    cluster.drop(cluster.keys.assignment(orphan))
    forecast = foreseen(cluster)
    assert sorted(each.instance for each in forecast.instances) == [
        f"default.web.{slot}.2" for slot in range(3)
    ]
    assert forecast.workloads[0].running_after == 3
    cluster.settle()
    gone = cluster.place_of(0)
    cluster.delete(KEY)
    cluster.settle()
    cluster.put(cluster.keys.move(gone), Move("by request"))
    assert foreseen(cluster).instances == ()


def test_no_end_is_told_where_none_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = running(3)
    monkeypatch.setattr(simulation, "MAX_WORK", 1)
    forecast = foreseen(cluster, DrainNode(cluster.place_of(0).node))
    assert not forecast.is_settled


def test_no_more_than_some_workloads_are_told_what_would_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.planning.findings.MAX_EXPLAINED", 1)
    cluster = running(2, nodes=1, containers=(HALF,))
    more = [replace(web(1), name=name, containers=(HALF,)) for name in ("a", "b")]
    forecast = foreseen(cluster, *map(ApplyWorkload, more))
    assert [bool(each.suggestions) for each in forecast.unplaced] == [True, False]


@pytest.mark.parametrize(
    ("hypothesis", "error", "sentence"),
    [
        (LoseNode("silnt"), NodeNotFound, "there is no node silnt; did you mean 'silent'"),
        (DrainNode("elsewhere"), NodeNotFound, "there is no node elsewhere: `orc get nodes` lists"),
        (AddNodes(1, "elsewhere"), NodeNotFound, "there is no node elsewhere"),
        (AddNodes(0, "n1"), ConfigError, "0 new nodes: it must be 1 to 1000"),
        (AddNodes(1001, "n1"), ConfigError, "1001 new nodes: it must be 1 to 1000"),
        (AddNodes(1, "silent"), ConfigError, "node silent has not reported what it has: name"),
        (ScaleWorkload(KEY, -1), ConfigError, "replicas is -1: it must be 0 to 100000"),
        (ScaleWorkload(KEY, 10**6), ConfigError, "replicas is 1000000: it must be 0 to 100000"),
        (ScaleWorkload(WorkloadKey("default", "gang"), 101), ConfigError, "replicas is 101"),
        (ScaleWorkload(WorkloadKey("a", "b"), 1), WorkloadNotFound, "there is no workload a/b"),
        (
            ScaleWorkload(WorkloadKey("default", "old"), 1),
            WorkloadNotFound,
            "workload default/old is deleted already; 1 of its instances have yet to be stopped",
        ),
    ],
)
def test_what_cannot_be_supposed_is_refused_in_a_sentence(
    hypothesis: Hypothesis, error: type[Exception], sentence: str
) -> None:
    cluster = running(1)
    cluster.say_of_node("silent", DesiredNode())
    cluster.apply(replace(web(1), name="gang", gang=True))
    cluster.apply(replace(web(1), name="old"))
    cluster.settle()
    cluster.delete(WorkloadKey("default", "old"))
    with pytest.raises(error, match=sentence):
        foreseen(cluster, hypothesis)


def test_many_new_nodes_are_counted_together() -> None:
    with pytest.raises(ConfigError, match=r"600 \+ 401 new nodes: it must be 1 to 1000"):
        foreseen(running(1), AddNodes(600, "n1"), AddNodes(401, "n1"))


def test_only_workloads_that_may_have_to_change_are_planned() -> None:
    cluster = running(3)
    assert unsettled(cluster.state) == set()
    node = cluster.place_of(0).node
    for said in (
        DesiredNode(Availability.DRAINING),
        DesiredNode(taints=(Taint("bad", effect=TaintEffect.NO_EXECUTE),)),
    ):
        cluster.say_of_node(node, said)
        assert unsettled(cluster.state) == {KEY}
    cluster.say_of_node(node, DesiredNode(Availability.CORDONED))
    assert unsettled(cluster.state) == set()
    cluster.lose(node)
    assert unsettled(cluster.state) == {KEY}
    fresh = PlannedCluster()
    fresh.apply(web(3))
    fresh.lead()
    assert unsettled(fresh.state) == {KEY}
    assert [way[0] for way in ways(foreseen(fresh))] == []
