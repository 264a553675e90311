"""Which single node can we not lose: the quick answers, and those that take a simulation."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model.forecast import CriticalNode
from orchestrator.model.keys import RevisionName
from orchestrator.model.placement import NODE_KEY, Affinity, Placement, PriorityClass
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, OnNodeLost
from orchestrator.planning.critical import critical_nodes
from orchestrator.planning.simulation import Brain, Scene
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster

APART = Placement(anti_affinity=(Affinity(workload="web", topology_key=NODE_KEY),))


def sized(cpu_cores: float) -> tuple[ContainerConfig, ...]:
    needs = NodeResources(cpu_cores=cpu_cores)
    return (ContainerConfig("app", command=("serve",), resource_requests=needs),)


def running(replicas: int, nodes: int, cpu_cores: float, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, containers=sized(cpu_cores), **changes))
    cluster.settle()
    return cluster


def critical(cluster: PlannedCluster, *, has_filters: bool = False) -> tuple[CriticalNode, ...]:
    brain = Brain(VectorScheduler(), has_filters)
    return critical_nodes(Scene.of(cluster.state), cluster.now, brain)


def stranded(cluster: PlannedCluster, **options: bool) -> dict[str, list[tuple[str, int]]]:
    return {
        each.node: [(some.workload, some.count) for some in each.stranded]
        for each in critical(cluster, **options)
    }


def test_any_node_can_be_lost_where_there_is_room_to_spare() -> None:
    cluster = running(3, 5, 1)
    assert critical(cluster) == ()
    assert critical(cluster, has_filters=True) == ()


def test_a_full_cluster_can_lose_no_node() -> None:
    cluster = running(4, 2, 2)
    [first, _] = critical(cluster)
    assert first.instances == 2
    assert [(each.workload, each.count) for each in first.stranded] == [("default/web", 2)]
    assert first.stranded[0].reason == "no other node takes it"
    assert stranded(cluster, has_filters=True) == stranded(cluster)


def test_room_that_suffices_for_some_is_told_for_the_others() -> None:
    cluster = running(5, 3, 2)
    assert {len(places) for places in cluster.state.places_by_node.values()} == {1, 2}
    assert stranded(cluster) == {node: [("default/web", 1)] for node in ("n1", "n2", "n3")}


def test_constraints_on_domains_are_asked_of_the_scheduler() -> None:
    cluster = running(3, 3, 0, placement=APART)
    assert stranded(cluster) == {node: [("default/web", 1)] for node in ("n1", "n2", "n3")}
    cluster.add_node("n4")
    assert critical(cluster) == ()


def test_what_is_not_replaced_makes_its_node_critical() -> None:
    cluster = running(1, 3, 1, on_node_lost=OnNodeLost.WAIT)
    [node] = critical(cluster)
    assert node.stranded[0].reason == "on_node_lost is `wait`: it is not replaced"


def test_what_has_no_template_is_not_replaced() -> None:
    cluster = running(1, 3, 1)
    name = RevisionName(web().key, 1)
    cluster.drop(cluster.keys.revision(*name))
    [node] = critical(cluster)
    assert node.stranded[0].reason == "the template of generation 1 is missing"


def test_who_would_be_displaced_for_it_is_stranded_in_its_place() -> None:
    cluster = running(1, 2, 4, priority=PriorityClass.HIGH)
    cluster.apply(replace(web(1, containers=sized(4)), name="low", priority=PriorityClass.LOW))
    cluster.settle()
    high = cluster.state.places_of(web().key)[0].node
    low = next(each.node for each in cluster.places() if each.instance.workload == "low")
    assert stranded(cluster) == {node: [("default/low", 1)] for node in (high, low)}


def test_those_with_less_patience_may_take_the_room_that_others_then_take_from_them() -> None:
    cluster = running(1, 2, 3, priority=PriorityClass.HIGH, lost_after_seconds=60)
    hasty = web(2, containers=sized(1), lost_after_seconds=0, priority=PriorityClass.LOW)
    cluster.apply(replace(hasty, name="hasty"))
    cluster.settle()
    full = {each.node for each in critical(cluster)}
    assert full == {node for node in ("n1", "n2") if cluster.state.places_by_node.get(node)}


def test_the_loss_that_would_not_be_believed_moves_nothing() -> None:
    cluster = running(1, 3, 0)
    place = cluster.place_of(0)
    other = next(node for node in ("n1", "n2", "n3") if node != place.node)
    cluster.lose(other)
    [node] = critical(cluster)
    assert node.node == place.node
    assert "2 of 3 nodes cannot be reached at once" in node.stranded[0].reason
