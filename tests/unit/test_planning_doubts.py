"""Stories of what the leader cannot know: what still runs where nobody answers, or nobody asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.model.actions import Place, Plan, Stop
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import DesiredNode
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, OnNodeLost, WorkloadDefinition
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

KEY = web().key
WAIT = OnNodeLost.WAIT
LARGE = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(memory_mb=3000))


def running(replicas: int = 3, nodes: int = 3, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, **changes))
    cluster.settle()
    return cluster


def placed(made: Plan) -> list[str]:
    actions = [action for change in made.changes for action in change.actions]
    names = [action.place.instance for action in actions if isinstance(action, Place)]
    return [f"{name.slot}.{name.attempt}" for name in names]


def scaled_away_and_wanted_again(cluster: PlannedCluster, spec: WorkloadDefinition) -> None:
    cluster.apply(replace(spec, replicas=spec.replicas - 1))
    cluster.settle()
    cluster.apply(spec)


def deleted_and_applied_again(cluster: PlannedCluster, spec: WorkloadDefinition) -> None:
    cluster.delete(KEY)
    cluster.settle()
    cluster.apply(spec)


@pytest.mark.parametrize("comes_back", [scaled_away_and_wanted_again, deleted_and_applied_again])
def test_wait_holds_the_slot_of_what_may_still_run_though_it_is_not_wanted(
    comes_back: Callable[[PlannedCluster, WorkloadDefinition], None],
) -> None:
    cluster = running(3, on_node_lost=WAIT)
    lost = cluster.place_of(0)
    cluster.lose(lost.node)
    comes_back(cluster, web(3, on_node_lost=WAIT))
    cluster.wait(100_000)
    cluster.settle()
    assert 0 not in {place.instance.slot for place in cluster.places()}
    assert f"{lost.instance} is stopped as soon as node {lost.node} can be reached" in str(
        cluster.waiting()
    )
    cluster.say_of_node(lost.node, DesiredNode(is_declared_lost=True))
    cluster.settle()
    assert [place.instance.slot for place in cluster.places()] == [0, 1, 2]


def test_what_was_stopping_when_its_node_was_lost_is_waited_for_like_any_other() -> None:
    cluster = running(1)
    lost = cluster.place_of(0)
    cluster.apply(web(1, stop_grace_seconds=5.0))
    cluster.lead()
    assert cluster.places() == []
    cluster.lose(lost.node)
    made = cluster.lead()
    assert placed(made) == []
    assert made.wake_at[KEY] == cluster.now + 30
    cluster.wait(30)
    cluster.settle()
    assert cluster.names() == ["0.2"]


def test_a_node_lost_for_good_holds_up_no_rollout() -> None:
    cluster = running(3)
    cluster.lose("n1")
    cluster.wait(30)
    cluster.settle()
    cluster.apply(web(3, stop_grace_seconds=5.0))
    cluster.settle()
    generations = {cluster.state.assignments[each].record.generation for each in cluster.places()}
    assert generations == {2}


def test_nothing_is_given_up_that_can_be_put_nowhere_else() -> None:
    cluster = running(3, containers=(LARGE,))
    cluster.lose("n1")
    cluster.wait(1000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    assert any("has no node" in each for each in cluster.waiting())
    cluster.revive("n1")
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]


def test_scaling_down_prefers_what_is_lost_to_replacing_it() -> None:
    cluster = running(3)
    cluster.lose(cluster.place_of(0).node)
    cluster.wait(30)
    cluster.apply(web(2))
    made = cluster.lead()
    assert placed(made) == []
    assert cluster.names() == ["1.1", "2.1"]


def test_patience_begins_anew_when_a_mass_loss_ends() -> None:
    cluster = running(3)
    for node in ("n1", "n2", "n3"):
        cluster.lose(node)
    cluster.wait(1000)
    cluster.lead()
    cluster.revive("n1")
    cluster.revive("n2")
    cluster.patience_since = cluster.now
    made = cluster.lead()
    assert placed(made) == []
    assert made.wake_at[KEY] == cluster.now + 30
    cluster.wait(30)
    assert len(placed(cluster.lead())) == 1


def by_hand(cluster: PlannedCluster, node: str, slot: int, attempt: int) -> InstancePlace:
    """A row that a person has copied from one of the leader's."""
    place = InstancePlace(node, InstanceName("default", "web", slot, attempt))
    record = replace(
        cluster.state.assignments[cluster.place_of(slot)].record, slot=slot, attempt=attempt
    )
    cluster.put(cluster.keys.assignment(place), record)
    return place


def test_a_slot_that_is_held_twice_keeps_one_and_does_not_waver() -> None:
    cluster = running(2)
    by_hand(cluster, "n3", 0, 7)
    cluster.apply(web(3))
    cluster.settle()
    assert [place.instance.slot for place in cluster.places()] == [0, 1, 2]
    assert len(cluster.state.assignments) == 3


def test_a_row_deleted_by_hand_gives_its_name_to_nobody_and_its_slot_when_all_is_gone() -> None:
    cluster = running(2)
    place = cluster.place_of(0)
    cluster.drop(cluster.keys.assignment(place))
    made = cluster.lead()
    assert placed(made) == []
    assert any(str(place.instance) in each for each in cluster.waiting())
    cluster.work()
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1"]


def test_a_row_deleted_by_hand_on_a_lost_node_is_waited_for_like_any_other() -> None:
    cluster = running(3)
    place = cluster.place_of(0)
    cluster.lose(place.node)
    cluster.drop(cluster.keys.assignment(place))
    made = cluster.lead()
    assert placed(made) == []
    assert made.wake_at[KEY] == cluster.now + 30
    cluster.wait(30)
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]


def test_an_assignment_that_this_leader_never_could_read_keeps_its_slot_and_its_name() -> None:
    cluster = running(2)
    place = cluster.place_of(0)
    cluster.drop(cluster.keys.assignment(place))
    cluster.names_used.clear()
    cluster.put_bytes(cluster.keys.assignment(place), b"{")
    cluster.settle()
    assert cluster.names() == ["1.1"]
    assert any(f"{place.instance} cannot be read" in each for each in cluster.waiting())
    cluster.drop(cluster.keys.assignment(place))
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1"]


def test_what_had_ended_on_a_node_that_is_removed_leaves_no_observation() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.report(place, Status.FAILED)
    cluster.lose(place.node)
    cluster.drop(cluster.keys.node_report(place.node))
    cluster.settle()
    assert cluster.names() == ["0.2"]
    assert place not in cluster.state.observations


def test_a_strangers_row_is_nothing_that_may_still_run() -> None:
    cluster = running(1)
    cluster.put_bytes("/orchestrator/strangers/row", b"{}")
    cluster.apply(web(2))
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1"]


def test_what_is_left_of_an_earlier_attempt_takes_nothing_from_the_later_one() -> None:
    cluster = running(3)
    old = cluster.place_of(0)
    cluster.lose(old.node)
    cluster.wait(30)
    cluster.settle()
    cluster.drop(cluster.keys.assignment(old))
    cluster.apply(web(4))
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1", "3.1"]


def test_what_may_still_run_of_a_deleted_workload_is_waited_for() -> None:
    cluster = running(1)
    place = cluster.place_of(0)
    cluster.lose(place.node)
    cluster.drop(cluster.keys.assignment(place))
    cluster.delete(KEY)
    cluster.wait(1000)
    cluster.settle()
    assert KEY in cluster.state.statuses
    assert cluster.waiting() == (
        f"{place.instance} is stopped as soon as node {place.node} can be reached",
    )
    cluster.revive(place.node)
    cluster.work()
    cluster.settle()
    assert KEY not in cluster.state.statuses


def test_nothing_is_waited_for_on_a_node_that_is_removed() -> None:
    cluster = running(3)
    stopping, orphaned = cluster.place_of(2), cluster.place_of(1)
    cluster.apply(web(2))
    cluster.lead()
    for place in (stopping, orphaned):
        cluster.lose(place.node)
        cluster.drop(cluster.keys.node_report(place.node))
    cluster.drop(cluster.keys.assignment(orphaned))
    cluster.settle()
    assert stopping not in cluster.state.assignments
    assert cluster.names() == ["0.1", "1.2"]


def lose_unread(cluster: PlannedCluster, node: str) -> None:
    """Its session is gone, and its report is one that this leader has never been able to read."""
    cluster.lose(node)
    cluster.drop(cluster.keys.node_report(node))
    cluster.put_bytes(cluster.keys.node_report(node), b"{")


def test_a_node_whose_report_cannot_be_read_has_not_been_removed() -> None:
    cluster = running(3)
    lost = cluster.place_of(0)
    lose_unread(cluster, lost.node)
    made = cluster.lead()
    assert placed(made) == []
    assert made.wake_at[KEY] == cluster.now + 30
    cluster.wait(30)
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]
    assert lost in cluster.state.assignments


def test_wait_holds_the_slots_of_a_node_whose_report_cannot_be_read() -> None:
    cluster = running(3, on_node_lost=WAIT)
    kept, orphaned = cluster.place_of(0), cluster.place_of(1)
    lose_unread(cluster, kept.node)
    lose_unread(cluster, orphaned.node)
    cluster.drop(cluster.keys.assignment(orphaned))
    cluster.wait(100_000)
    cluster.settle()
    assert cluster.names() == ["0.1", "2.1"]
    assert all(str(each.instance) in str(cluster.waiting()) for each in (kept, orphaned))


def test_nodes_whose_reports_cannot_be_read_count_for_the_mass_loss_brake() -> None:
    cluster = running(3)
    lose_unread(cluster, "n1")
    lose_unread(cluster, "n2")
    cluster.wait(1000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    assert any("2 of 3 nodes cannot be reached" in each for each in cluster.waiting())


@pytest.mark.slow
def test_deleting_a_thousand_replicas_is_one_stop_each() -> None:
    cluster = running(1000)
    cluster.delete(KEY)
    (*_, last) = changes = cluster.plan().changes
    assert sum(len(change.actions) for change in changes) == 1000
    assert all(isinstance(action, Stop) for action in last.actions)
