"""Stories of instances that people want to move: as an eviction, under the workload's budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.controller.writes import stories_of
from orchestrator.model.actions import Action, DropMove, Forget, Place, Plan, Stop
from orchestrator.model.errors import NodeNotFound, StateError
from orchestrator.model.instance import InstanceObservation, Move, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import DesiredNode
from orchestrator.model.placement import (
    Placement,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.planning.moving import Destination, destination
from orchestrator.planning.simulation import Scene
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

KEY = web().key
LARGE = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(memory_mb=3000))


def running(replicas: int = 3, nodes: int = 3, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, **changes))
    cluster.settle()
    return cluster


def wish(cluster: PlannedCluster, place: InstancePlace, to: str = "") -> None:
    cluster.put(cluster.keys.move(place), Move("by request", to))


def actions(made: Plan) -> list[Action]:
    return [action for change in made.changes for action in change.actions]


def test_what_its_node_adds_to_the_end_of_an_instance_is_told() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.apply(web(0))
    [stop] = actions(cluster.lead())
    entry = cluster.state.assignments[place]
    said = InstanceObservation(
        Status.SUCCEEDED, entry.create_revision, f"{stop.reason}; it was killed"
    )
    cluster.put(cluster.keys.observation(place), said)
    assert actions(cluster.lead()) == [Forget(place, "stopped and confirmed: it was killed")]


def test_what_is_to_move_stops_first_then_its_slot_is_filled_where_people_want_it() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    to = next(node for node in ("n3", "n2") if node != place.node)
    wish(cluster, place, to)
    reason = f"it moves to {to}: by request"
    assert actions(cluster.lead()) == [Stop(place, reason)]
    assert cluster.state.moves
    cluster.work()
    forget, placed = actions(cluster.lead())
    assert forget == Forget(place, "stopped and confirmed", with_move=True)
    assert isinstance(placed, Place)
    assert placed.place.node == to
    assert placed.reason == (
        f"follows {place.instance}, stopped because {reason}; of 3 nodes that fit, {to} is the one"
        " that is asked for"
    )
    assert cluster.state.moves == {}


def test_moves_go_one_at_a_time_or_as_the_minimum_allows() -> None:
    cluster = running(3)
    for place in cluster.places():
        wish(cluster, place)
    made = cluster.lead()
    assert len(actions(made)) == 1
    assert "is to leave, as it moves to another node: by request" in str(made.waiting)
    bold = running(3, min_available=1)
    for place in bold.places():
        wish(bold, place)
    assert len(actions(bold.lead())) == 2
    bold.settle()
    assert (bold.state.moves, bold.names()) == ({}, ["0.2", "1.2", "2.2"])


def test_what_does_not_run_yet_moves_at_once() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(web(2))
    cluster.lead()
    for place in cluster.places():
        wish(cluster, place)
    assert [type(each) for each in actions(cluster.lead())] == [Stop, Stop]


def test_a_wish_is_dropped_when_its_instance_is_gone_and_even_its_workload() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.delete(KEY)
    cluster.settle()
    wish(cluster, place)
    drop = DropMove(place, f"{place.instance} is gone from {place.node}")
    made = cluster.lead()
    assert actions(made) == [drop]
    [story] = stories_of(made.changes[0])
    assert (story.kind, story.reason) == ("MovesDropped", f"{place.instance}: {drop.reason}")
    cluster.settle()
    assert cluster.state.workload_keys() == []


def test_whoever_takes_the_slot_for_another_reason_takes_the_wish_along() -> None:
    cluster = running(2)
    place = cluster.place_of(0)
    wish(cluster, place)
    cluster.report(place, Status.FAILED)
    cluster.settle()
    assert (cluster.state.moves, cluster.names()) == ({}, ["0.2", "1.1"])


def test_a_node_that_is_no_good_any_more_comes_before_the_wish() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    wish(cluster, place)
    bad = DesiredNode(taints=(Taint("bad", effect=TaintEffect.NO_EXECUTE),))
    cluster.say_of_node(place.node, bad)
    [stop] = actions(cluster.lead())
    assert stop.reason == f"node {place.node} is tainted bad:NoExecute"


def test_who_may_stay_a_while_on_a_bad_node_moves_at_once_if_people_want_it() -> None:
    patient = Toleration("bad", TolerationOperator.EXISTS, seconds=60)
    cluster = running(1, placement=Placement(tolerations=(patient,)))
    place = cluster.place_of(0)
    bad = DesiredNode(taints=(Taint("bad", effect=TaintEffect.NO_EXECUTE),))
    cluster.say_of_node(place.node, bad)
    assert actions(cluster.lead()) == []
    wish(cluster, place)
    assert [each.reason for each in actions(cluster.lead())] == [
        "it moves to another node: by request"
    ]


def test_a_wish_that_cannot_be_read_moves_nobody() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.put_bytes(cluster.keys.move(place), b"{")
    assert actions(cluster.lead()) == []
    assert cluster.keys.move(place) in cluster.state.damaged


def test_the_best_other_node_is_found_for_it() -> None:
    cluster = running(3)
    place = cluster.place_of(0)
    found = destination(Scene.of(cluster.state), VectorScheduler(), place)
    assert found.node != place.node
    assert found == Destination(
        found.node, f"of 2 nodes that fit, {found.node} has the fewest of it (1)"
    )


def test_a_node_that_is_asked_for_is_taken_if_it_fits() -> None:
    cluster = running(3)
    place = cluster.place_of(0)
    others = sorted({"n1", "n2", "n3"} - {place.node})
    scene = Scene.of(cluster.state)
    assert [destination(scene, VectorScheduler(), place, to).node for to in others] == others


def test_why_it_cannot_move_is_told() -> None:
    cluster = running(3, containers=(LARGE,))
    place = cluster.place_of(0)
    other = cluster.place_of(1).node
    scene = Scene.of(cluster.state)

    def refusal(to: str = "") -> str:
        with pytest.raises(StateError) as refused:
            destination(scene, VectorScheduler(), place, to)
        return str(refused.value)

    assert refusal().startswith(f"{place.instance} stays, as it has no other node: none of 3 nodes")
    assert refusal(other).startswith(f"{place.instance} stays, as it has no other node")
    assert refusal(place.node) == (
        f"{place.instance} is on {place.node} already: name another node, or none"
    )
    with pytest.raises(NodeNotFound, match="there is no node n33; did you mean 'n3'"):
        destination(scene, VectorScheduler(), place, "n33")
    cluster.add_node("n4")
    assert refusal(other) == (
        f"{place.instance} stays, as {other} does not take it: lacks 2000 MB of memory (free:"
        " 1000 MB)"
    )


def test_a_scheduler_that_hears_no_wish_says_so() -> None:
    cluster = running(3)
    place = cluster.place_of(0)
    scene = Scene.of(cluster.state)
    best = destination(scene, SimpleScheduler(), place).node
    [other] = {"n1", "n2", "n3"} - {place.node, best}
    with pytest.raises(StateError, match="the scheduler prefers no node by name"):
        destination(scene, SimpleScheduler(), place, other)


def test_only_what_is_to_run_and_can_be_reached_is_moved() -> None:
    cluster = running(3)
    stopping, ended, lost = cluster.places()
    cluster.put(
        cluster.keys.assignment(stopping),
        replace(cluster.state.assignments[stopping].record, wanted=Wanted.STOPPED),
    )
    cluster.report(ended, Status.FAILED)
    cluster.lose(lost.node)
    scene = Scene.of(cluster.state)
    for place, told in {
        stopping: "is being stopped already",
        ended: "has ended: its slot is filled anew by itself",
        lost: f"cannot be moved while node {lost.node} cannot be reached",
    }.items():
        with pytest.raises(StateError, match=told):
            destination(scene, VectorScheduler(), place)
