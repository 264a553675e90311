"""Stories of slots that have their data on a node: they stay with it, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model.container import Volume, VolumeKind
from orchestrator.model.errors import StateError
from orchestrator.model.forecast import Fate
from orchestrator.model.instance import Move
from orchestrator.model.keys import VolumePlace
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import PriorityClass, Taint, TaintEffect
from orchestrator.model.resources import NodeResources
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from orchestrator.planning.critical import critical_nodes
from orchestrator.planning.hypotheses import (
    AddNodes,
    ApplyWorkload,
    DrainNode,
    LoseNode,
    ScaleWorkload,
)
from orchestrator.planning.moving import destination
from orchestrator.planning.rebalancing import plan_rebalance
from orchestrator.planning.simulation import Brain, Scene
from orchestrator.planning.whatif import simulate
from orchestrator.planning.why import explain_instance, workload_reasons
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.planned_cluster import PlannedCluster

DRAINING = DesiredNode(Availability.DRAINING)
ONE_CORE = NodeResources(cpu_cores=1)
BRAIN = Brain(VectorScheduler())


def db(replicas: int = 1, *names: str, **changes: Any) -> WorkloadDefinition:
    """With local volumes of these names."""
    container = ContainerConfig("db", image="postgres:16", resource_requests=ONE_CORE)
    volumes = tuple(Volume(name, VolumeKind.LOCAL) for name in names or ("data",))
    return WorkloadDefinition("db", (container,), replicas=replicas, volumes=volumes, **changes)


def running(replicas: int = 1, nodes: int = 3, **changes: Any) -> PlannedCluster:
    cluster = PlannedCluster(0)
    for number in range(1, nodes + 1):
        add_node(cluster, f"n{number}")
    cluster.apply(db(replicas, **changes))
    cluster.settle()
    return cluster


def add_node(cluster: PlannedCluster, name: str) -> None:
    cluster.add_node(name, runtimes=("process", "oci"))


def scene(cluster: PlannedCluster) -> Scene:
    return Scene.of(cluster.state)


def has_data(cluster: PlannedCluster, node: str, slot: int = 0, volume: str = "data") -> None:
    name = VolumeName("default", "db", slot, volume)
    cluster.put(cluster.keys.volume(VolumePlace(node, name)), NodeVolume(0.0))


def test_each_attempt_goes_back_to_the_data_of_its_slot() -> None:
    cluster = running(3)
    homes = [cluster.place_of(slot).node for slot in range(3)]
    for attempt in (2, 3):
        cluster.fail(1)
        cluster.wait(1000)
        cluster.settle()
        assert [cluster.place_of(slot).node for slot in range(3)] == homes
        assert cluster.place_of(1).instance.attempt == attempt


def test_why_a_workload_is_where_it_is_tells_of_its_data() -> None:
    cluster = running(7)
    home = cluster.place_of(0).node
    _, held, *_, rest, below = workload_reasons(cluster.state, db().key)
    assert held == f"slot 0 can be on {home} only, which has its volume default.db.0.data"
    assert rest == "2 more slots can only be where their volumes are"
    assert below == "what the nodes say below is for a slot that has no data yet"
    few = workload_reasons(running(2).state, db().key)
    assert len(few) == 4  # one line, one for each of two slots, and what is said below


def test_data_outlive_a_slot_and_its_workload() -> None:
    cluster = running(3)
    homes = [cluster.place_of(slot).node for slot in range(3)]
    cluster.apply(db(0))
    cluster.settle()
    cluster.delete(db().key)
    cluster.settle()
    assert not cluster.state.statuses
    cluster.apply(db(3))
    cluster.settle()
    assert [cluster.place_of(slot).node for slot in range(3)] == homes


def test_a_generation_without_the_volume_is_free_to_go() -> None:
    cluster = running(1)
    cluster.lose(cluster.place_of(0).node)
    cluster.apply(db(1, "other"))
    cluster.wait(60)
    cluster.settle()
    assert cluster.place_of(0).node in cluster.state.sessions


def test_who_has_lost_his_node_waits_for_it() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.lose(place.node)
    cluster.wait(60)
    cluster.settle()
    (told,) = cluster.waiting()
    assert told.startswith(
        f"slot 0 has no node: its volume default.db.0.data is on {place.node}, which cannot be"
        f" reached: bring {place.node} back into service, or give the data up with"
    )
    cluster.revive(place.node)
    cluster.settle()
    assert cluster.place_of(0) == place, "it runs on as if nothing had been"


def test_data_on_a_node_that_was_removed_hold_nobody() -> None:
    cluster = running(1)
    gone = cluster.place_of(0).node
    cluster.lose(gone)
    cluster.drop(cluster.keys.node_report(gone))
    cluster.settle()
    assert cluster.place_of(0).node != gone
    assert len(cluster.state.volumes_of(db().key, 0)) == 2


def test_data_in_two_places_are_for_people_to_sort_out() -> None:
    cluster = running(1)
    other = next(node for node in ("n1", "n2") if node != cluster.place_of(0).node)
    has_data(cluster, other)
    cluster.settle()
    cluster.fail(0)
    cluster.settle()
    (told,) = cluster.waiting()
    assert told.startswith(
        "slot 0 has no node: its data are on several nodes: default.db.0.data on"
    )


def test_a_drain_leaves_it_where_it_is_and_says_so() -> None:
    cluster = running(2, nodes=2)
    place, other = cluster.place_of(0), cluster.place_of(1)
    cluster.say_of_node(place.node, DRAINING)
    cluster.settle()
    assert cluster.places() == [place, other]
    assert cluster.waiting() == (
        f"default.db.0.1 stays, as its volume default.db.0.data is on {place.node}, although node"
        f" {place.node} is drained",
    )


def test_what_has_not_started_yet_has_no_data_to_stay_with() -> None:
    cluster = PlannedCluster(0)
    for name in ("n1", "n2"):
        add_node(cluster, name)
    cluster.apply(db(1))
    cluster.lead()
    place = cluster.place_of(0)
    cluster.say_of_node(place.node, DRAINING)
    cluster.settle()
    assert cluster.place_of(0).node != place.node


def test_a_taint_that_forbids_it_to_run_stops_it_until_that_is_gone() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    evicting = DesiredNode(taints=(Taint("broken", effect=TaintEffect.NO_EXECUTE),))
    cluster.say_of_node(place.node, evicting)
    cluster.settle()
    assert not cluster.places()
    assert f"on {place.node}, which is tainted broken:NoExecute" in cluster.waiting()[0]
    cluster.say_of_node(place.node, DesiredNode())
    cluster.settle()
    assert cluster.place_of(0).node == place.node


def test_a_move_is_refused_and_one_that_was_asked_for_before_waits() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    with pytest.raises(StateError) as caught:
        destination(scene(cluster), VectorScheduler(), place)
    held = f"its volume default.db.0.data is on {place.node}"
    assert str(caught.value) == f"{place.instance} stays, as {held}, and it has no data elsewhere"
    cluster.put(cluster.keys.move(place), Move("by request"))
    cluster.settle()
    assert cluster.places() == [place]
    assert cluster.waiting() == (
        f"{place.instance} stays, as {held}, although it moves to another node: by request",
    )


def test_an_instance_whose_data_are_elsewhere_may_leave_for_there() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    home = next(node for node in ("n1", "n2") if node != place.node)
    cluster.drop(cluster.keys.volume(VolumePlace(place.node, VolumeName(*db().key, 0, "data"))))
    has_data(cluster, home)
    assert destination(scene(cluster), VectorScheduler(), place).node == home
    cluster.say_of_node(place.node, DRAINING)
    cluster.settle()
    assert cluster.place_of(0).node == home


def test_no_balance_is_worth_the_data() -> None:
    cluster = running(4, nodes=1)
    add_node(cluster, "n2")
    cluster.settle()
    assert plan_rebalance(scene(cluster), VectorScheduler(), 0, 10).moves == ()


def test_two_volumes_are_told_together() -> None:
    cluster = PlannedCluster(0)
    add_node(cluster, "n1")
    cluster.apply(db(1, "data", "log"))
    cluster.settle()
    cluster.say_of_node("n1", DRAINING)
    (told,) = cluster.waiting()
    assert "its volumes default.db.0.data and default.db.0.log are on n1" in told


def test_a_node_with_data_is_one_that_must_not_be_lost() -> None:
    cluster = running(2, nodes=2)
    found = critical_nodes(scene(cluster), cluster.now, BRAIN)
    assert [(each.node, each.stranded[0].reason) for each in found] == [
        (place.node, f"its volume default.db.{place.instance.slot}.data is on {place.node}")
        for place in sorted(cluster.places())
    ]


def test_a_forecast_knows_that_new_instances_will_have_data() -> None:
    cluster = running(1, nodes=2)
    [home], other = {cluster.place_of(0).node}, {"n1", "n2"} - {cluster.place_of(0).node}
    grown = [ScaleWorkload(db().key, 2)]
    made = simulate(scene(cluster), cluster.now, BRAIN, grown)
    assert {each.to_node for each in made.instances} == other
    lost = simulate(scene(cluster), cluster.now, BRAIN, [LoseNode(home), AddNodes(1, home)])
    (short,) = lost.workloads
    assert f"its volume default.db.0.data is on {home}" in short.waiting[0]
    assert short.suggestions == (f"{home} would take it, but it cannot be reached",)
    drained = simulate(scene(cluster), cluster.now, BRAIN, [DrainNode(home)])
    assert drained.instances == ()


def test_a_forecast_of_a_rollout_keeps_each_on_its_node() -> None:
    cluster = running(2, nodes=2)
    rolled = simulate(scene(cluster), cluster.now, BRAIN, [ApplyWorkload(db(2, gang=True))])
    assert rolled.instances == ()
    rolled = simulate(
        scene(cluster), cluster.now, BRAIN, [ApplyWorkload(db(2, stop_grace_seconds=1.0))]
    )
    assert {each.fate for each in rolled.instances} == {Fate.RENEWED}


def test_why_it_is_where_it_is() -> None:
    cluster = running(1, nodes=2)
    place = cluster.place_of(0)
    scheduler = VectorScheduler()
    said = explain_instance(
        cluster.state, place, scene(cluster).occupancy, scheduler, cluster.now
    ).nodes
    fitting = [each.node for each in said if not each.refusals]
    assert fitting == [place.node]


def test_who_was_displaced_waits_for_his_own_node() -> None:
    cluster = running(1, nodes=2)
    home = cluster.place_of(0).node
    big = ContainerConfig("big", image="big", resource_requests=NodeResources(cpu_cores=4))
    for name in ("a", "b"):
        cluster.apply(WorkloadDefinition(name, (big,), priority=PriorityClass.HIGH))
    cluster.settle()
    assert {each.instance.workload for each in cluster.places()} == {"a", "b"}
    (told,) = cluster.waiting()
    assert f"its volume default.db.0.data is on {home}, which lacks 1 core" in told
