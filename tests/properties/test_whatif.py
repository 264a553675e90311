"""Simulate, then do: what is foreseen is what comes true, whatever the cluster and the change."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.model.instance import Move, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import (
    ANYWHERE,
    NODE_KEY,
    Affinity,
    Placement,
    PriorityClass,
    TopologySpread,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import (
    ContainerConfig,
    OnNodeLost,
    WorkloadDefinition,
    WorkloadKey,
)
from orchestrator.planning.critical import critical_nodes
from orchestrator.planning.hypotheses import (
    AddNodes,
    ApplyWorkload,
    DrainNode,
    Hypothesis,
    LoseNode,
    ScaleWorkload,
    suppose,
)
from orchestrator.planning.rebalancing import plan_rebalance
from orchestrator.planning.rehearsal import running_of
from orchestrator.planning.simulation import Scene, Simulation, settle
from orchestrator.simulation.samples import web
from tests.support.forecasts import BRAIN
from tests.support.planned_cluster import PlannedCluster

QUICK, MANY = range(60), range(1000, 1200)
PLACEMENTS = (
    *(ANYWHERE,) * 4,
    Placement(anti_affinity=(Affinity(workload="w0", topology_key=NODE_KEY),)),
    Placement(spread=(TopologySpread(NODE_KEY),)),
)


def seeds(test: Callable[[int], None]) -> Callable[[int], None]:
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in MANY]
    return pytest.mark.parametrize("seed", [*QUICK, *slow])(test)


def random_cluster(rng: random.Random) -> PlannedCluster:
    cluster = PlannedCluster(0)
    for index in range(rng.randint(2, 6)):
        cluster.add_node(f"n{index}", NodeResources(rng.choice((2, 4, 6)), memory_mb=4000))
    for index in range(rng.randint(1, 5)):
        cluster.apply(definition(rng, f"w{index}"))
    cluster.settle()
    return cluster


def definition(rng: random.Random, name: str) -> WorkloadDefinition:
    needs = NodeResources(cpu_cores=rng.choice((0, 0.5, 1, 2)))
    container = ContainerConfig("app", command=("serve",), resource_requests=needs)
    return replace(
        web(rng.randint(1, 5)),
        name=name,
        containers=(container,),
        lost_after_seconds=rng.choice((0.0, 10.0, 30.0)),
        priority=rng.choice((PriorityClass.NORMAL, *PriorityClass)),
        placement=rng.choice(PLACEMENTS),
        on_node_lost=rng.choice((*(OnNodeLost.REPLACE,) * 5, OnNodeLost.WAIT)),
        gang=rng.random() < 0.1,
        min_available=rng.choice((None, None, 0, 1, 2)),
    )


def random_change(rng: random.Random, cluster: PlannedCluster) -> Hypothesis:
    node = rng.choice(cluster.state.node_names())
    key = WorkloadKey("default", "w0")
    return rng.choice(
        (
            LoseNode(node),
            LoseNode(node, for_good=True),
            DrainNode(node),
            AddNodes(rng.randint(1, 2), node),
            ScaleWorkload(key, rng.randint(0, 9)),
            ApplyWorkload(definition(rng, rng.choice(("w0", "new")))),
        )
    )


def do(cluster: PlannedCluster, change: Hypothesis) -> None:
    """As people and nodes would."""
    match change:
        case LoseNode(node, for_good):
            cluster.lose(node)
            if for_good:
                cluster.drop(cluster.keys.node_report(node))
        case DrainNode(node):
            cluster.say_of_node(node, DesiredNode(Availability.DRAINING))
        case AddNodes(count, like):
            for index in range(1, count + 1):
                cluster.add_node(f"new-{index}", cluster.state.reports[like].record.allocatable)
        case ScaleWorkload(key, replicas):
            spec = cluster.state.workloads[key].record.spec
            cluster.apply(replace(spec, replicas=replicas))
        case ApplyWorkload(spec):
            cluster.apply(spec)


def come_true(cluster: PlannedCluster) -> None:
    """Until nothing is left to do, however long that takes."""
    for _ in range(20):
        cluster.settle(rounds=200)
        due = [at for at in cluster.plan().wake_at.values() if at > cluster.now]
        if not due:
            return
        cluster.now = min(due)
    raise AssertionError("there is no end of it")


def supposed(cluster: PlannedCluster, change: Hypothesis) -> Simulation:
    scene = Scene.of(cluster.state).fork()
    suppose(scene.state, change, cluster.now)
    return settle(scene, cluster.now, BRAIN)


def placements(cluster_or_scene: PlannedCluster | Scene) -> set[tuple[InstancePlace, Wanted]]:
    assignments = cluster_or_scene.state.assignments
    return {(place, entry.record.wanted) for place, entry in assignments.items()}


@seeds
def test_what_was_simulated_is_what_comes_true(seed: int) -> None:
    rng = random.Random(seed)
    cluster = random_cluster(rng)
    change = random_change(rng, cluster)
    before = cluster.state.copy()
    made = supposed(cluster, change)
    assert cluster.state.copy() == before
    assert made.is_settled
    do(cluster, change)
    come_true(cluster)
    assert placements(made.scene) == placements(cluster)
    assert made.rehearsal.now == cluster.now
    waiting = {key: told for key, told in cluster.plan().waiting.items() if told}
    assert made.waiting == waiting


@seeds
def test_the_quick_answer_on_critical_nodes_is_that_of_the_whole_simulation(seed: int) -> None:
    cluster = random_cluster(random.Random(seed))
    scene = Scene.of(cluster.state)
    quick = {
        each.node: {some.workload: some.count for some in each.stranded}
        for each in critical_nodes(scene, cluster.now, BRAIN)
    }
    full = {node: losses(cluster, node) for node in sorted(cluster.state.places_by_node)}
    assert quick == {node: lost for node, lost in full.items() if lost}


def losses(cluster: PlannedCluster, node: str) -> dict[str, int]:
    made = supposed(cluster, LoseNode(node))
    missing = {
        str(key): running_of(cluster.state, key) - running_of(made.scene.state, key)
        for key in cluster.state.workload_keys()
    }
    return {key: count for key, count in missing.items() if count > 0}


@seeds
def test_rebalancing_comes_true_and_harms_nobody(seed: int) -> None:
    rng = random.Random(seed)
    cluster = random_cluster(rng)
    cluster.add_node("new-1")
    come_true(cluster)
    scene = Scene.of(cluster.state)
    made = plan_rebalance(scene, BRAIN.scheduler, rng.choice((0, 100, 300)), rng.randint(1, 9))
    assert made.after <= made.before
    assert all(each.from_node != each.to_node for each in made.moves)
    before = {key: running_of(cluster.state, key) for key in cluster.state.workload_keys()}
    for each in made.moves:
        [place] = [
            place for place in cluster.state.assignments if str(place.instance) == each.instance
        ]
        assert place.node == each.from_node
        cluster.put(cluster.keys.move(place), Move(each.reason, each.to_node))
    trial = settle(Scene.of(cluster.state).fork(), cluster.now, BRAIN)
    for key, running in before.items():
        least = cluster.state.workloads[key].record.spec.min_available
        if least is not None:
            assert trial.rehearsal.lowest.get(key, running) >= min(least, running)
        assert running_of(trial.scene.state, key) >= running
    come_true(cluster)
    assert cluster.state.moves == {}
