"""Moves that even out the load: as many as asked for, and none that would harm a workload."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.model.instance import InstanceName, Move
from orchestrator.model.keys import InstancePlace
from orchestrator.model.moves import PlannedMove, Rebalance
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import (
    NODE_KEY,
    Affinity,
    NodeSelector,
    Operator,
    Placement,
    Strategy,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, GpuNeed, OnNodeLost
from orchestrator.planning import rebalancing
from orchestrator.planning.loads import imbalance, node_loads
from orchestrator.planning.rebalancing import plan_rebalance
from orchestrator.planning.simulation import Scene
from orchestrator.scheduler.facts import Mask, NodeFacts
from orchestrator.scheduler.protocol import Scheduler, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

ONE_CORE = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(cpu_cores=1))


def crowded(replicas: int = 4, nodes: int = 1, **changes: Any) -> PlannedCluster:
    """Nodes that are full, and one beside them that has just joined."""
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, containers=(ONE_CORE,), **changes))
    cluster.settle()
    cluster.add_node("n9")
    cluster.settle()
    return cluster


def planned(
    cluster: PlannedCluster,
    target: int = 100,
    max_moves: int = 100,
    scheduler: Scheduler | None = None,
) -> Rebalance:
    scene = Scene.of(cluster.state)
    return plan_rebalance(scene, scheduler or VectorScheduler(), target, max_moves)


def carry_out(cluster: PlannedCluster, made: Rebalance) -> None:
    for each in made.moves:
        place = InstancePlace(each.from_node, InstanceName.parse(each.instance))
        assert cluster.state.assignments[place].mod_revision == each.assignment
        cluster.put(cluster.keys.move(place), Move(each.reason, each.to_node))
    cluster.settle()


def test_a_new_node_gets_its_share_and_what_was_planned_comes_true() -> None:
    cluster = crowded(min_available=0)
    made = planned(cluster)
    place = cluster.place_of(0)
    assert made.moves[0] == PlannedMove(
        "default.web.0.1",
        "n1",
        "n9",
        "n1 is 100 % full, n9 0 %",
        cluster.state.assignments[place].mod_revision,
    )
    assert (made.before, made.after, len(made.moves)) == (1000, 0, 2)
    carry_out(cluster, made)
    assert imbalance(Scene.of(cluster.state).occupancy.snapshot()) == 0
    assert planned(cluster) == Rebalance(0, 0, 100)


def test_it_stops_at_the_target_and_at_so_many_moves() -> None:
    cluster = crowded(min_available=0)
    assert len(planned(cluster, target=500).moves) == 1
    assert len(planned(cluster, max_moves=1).moves) == 1
    assert planned(cluster, target=1000).moves == ()


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"min_available": 4}, 0),
        ({"min_available": 3}, 1),
        ({}, 1),
        ({"gang": True}, 0),
        ({"on_node_lost": OnNodeLost.WAIT}, 0),
        ({"placement": Placement(strategy=Strategy.PACK)}, 0),
        ({"placement": Placement(nodes=(NodeSelector(NODE_KEY, Operator.IN, ("n1",)),))}, 0),
    ],
)
def test_no_workload_is_harmed(changes: dict[str, Any], moves: int) -> None:
    assert len(planned(crowded(**changes)).moves) == moves


def test_what_changes_already_is_left_alone() -> None:
    starting = crowded(min_available=0)
    starting.apply(web(5, containers=(ONE_CORE,), min_available=0))
    starting.lead()
    assert planned(starting, target=0).moves == ()
    moving = crowded(min_available=0)
    moving.put(moving.keys.move(moving.place_of(0)), Move("by request"))
    assert planned(moving).moves == ()
    leaving = crowded(min_available=0)
    leaving.delete(web().key)
    assert planned(leaving).moves == ()
    going = crowded(min_available=0)
    going.apply(web(3, containers=(ONE_CORE,), min_available=0))
    going.lead()
    assert "default.web.3.1" not in {each.instance for each in planned(going).moves}
    failing = crowded(min_available=0)
    failing.report(failing.place_of(0), Status.FAILED)
    assert planned(failing).moves == ()
    outdated = crowded(min_available=0)
    outdated.apply(web(4, containers=(ONE_CORE,), min_available=0, stop_grace_seconds=1.0))
    assert planned(outdated).moves == ()


def test_cordoned_nodes_neither_give_nor_take() -> None:
    cluster = crowded(min_available=0)
    cluster.say_of_node("n9", DesiredNode(Availability.CORDONED))
    assert planned(cluster) == Rebalance(0, 0, 100)
    cluster.add_node("n8")
    assert {each.to_node for each in planned(cluster).moves} == {"n8"}


def test_where_nothing_helps_the_fullest_node_others_fill_the_emptiest() -> None:
    pinned = Placement(nodes=(NodeSelector(NODE_KEY, Operator.IN, ("n1",)),))
    cluster = PlannedCluster(1)
    cluster.apply(web(4, containers=(ONE_CORE,), placement=pinned))
    cluster.settle()
    cluster.add_node("n2")
    free = web(3, containers=(ONE_CORE,), min_available=0)
    cluster.apply(replace(free, name="free"))
    cluster.settle()
    cluster.add_node("n3")
    made = planned(cluster, target=0)
    assert {(each.from_node, each.to_node) for each in made.moves} == {("n2", "n3")}
    assert (made.before, made.after) == (1000, 750)


def test_alike_instances_are_looked_at_once_and_there_is_an_end_to_looking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = crowded(8, nodes=2, min_available=0)
    monkeypatch.setattr(rebalancing, "MAX_LOOKS", 0)
    assert len(planned(cluster).moves) == 1


class NeverOnTheNewOne:
    """A plug-in, of which the plan knows nothing but what the scheduler makes of it."""

    name = "never-on-n9"

    def passes(self, snapshot: Snapshot, shape: Shape) -> Mask:
        return np.array([name != "n9" for name in snapshot.facts.names], dtype=np.bool_)


def test_what_the_scheduler_would_put_elsewhere_is_not_moved() -> None:
    cluster = crowded(min_available=0)
    picky = VectorScheduler(filters=(NeverOnTheNewOne(),))
    assert planned(cluster, scheduler=picky) == Rebalance(1000, 1000, 100)


def test_a_constraint_on_domains_is_kept() -> None:
    apart = Placement(anti_affinity=(Affinity(workload="web", topology_key=NODE_KEY),))
    cluster = PlannedCluster(1)
    cluster.apply(web(1, containers=(ONE_CORE,), placement=apart))
    other = web(2, containers=(ONE_CORE,), min_available=0)
    cluster.apply(replace(other, name="other"))
    cluster.settle()
    cluster.add_node("n2")
    made = planned(cluster, target=0)
    assert (made.before, made.after) == (750, 250)


def test_no_nodes_are_in_balance() -> None:
    cluster = PlannedCluster(0)
    assert planned(cluster) == Rebalance(0, 0, 100)


@pytest.mark.parametrize(
    ("target", "max_moves", "sentence"),
    [
        (-1, 1, "the target is -0.1 %: it must be 0 to 100"),
        (1001, 1, "the target is 100.1 %: it must be 0 to 100"),
        (0, 0, "max_moves is 0: it must be 1 to 1000"),
        (0, 1001, "max_moves is 1001: it must be 1 to 1000"),
    ],
)
def test_absurd_wishes_are_refused(target: int, max_moves: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        planned(crowded(), target, max_moves)


def test_gpus_are_one_resource_of_the_load() -> None:
    snapshot = Snapshot.of([NodeFacts("n1", {}, gpus=("T4", "T4")), NodeFacts("n2", {"x": 0})], {})
    snapshot.gpus_free[0, 0] = 0
    assert node_loads(snapshot).tolist() == [500, 0]
    half = Shape(web().key, gpu=GpuNeed(500, 1))
    assert node_loads(snapshot, [0], half).tolist() == [750]
