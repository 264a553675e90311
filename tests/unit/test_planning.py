"""Stories of the planner: what people, nodes and failures do, and what the leader makes of it."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model.actions import Forget, Place, Stop
from orchestrator.model.instance import ExitCause, WorkloadInstanceStatus
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import (
    ContainerConfig,
    DesiredWorkload,
    OnNodeLost,
    PortMapping,
)
from orchestrator.planning.plan import MAX_PART_OPS
from orchestrator.planning.status import MAX_SENTENCES
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster

KEY = web().key


def running(replicas: int = 3, nodes: int = 3, **changes: object) -> PlannedCluster:
    cluster = PlannedCluster(nodes)
    cluster.apply(web(replicas, **changes))
    cluster.settle()
    return cluster


def test_a_new_workload_is_spread_over_the_nodes() -> None:
    cluster = running(3)
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    assert {place.node for place in cluster.places()} == {"n1", "n2", "n3"}
    assert cluster.state.statuses[KEY].record.running == 3


def test_what_is_as_it_should_be_needs_no_write() -> None:
    assert running(3).plan().changes == ()


def test_scaling_up_fills_the_lowest_free_slots() -> None:
    cluster = running(2)
    cluster.apply(web(4))
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1", "3.1"]


def test_scaling_down_prefers_the_unhealthy_then_the_newest() -> None:
    cluster = running(2)
    cluster.apply(web(4))
    cluster.settle()
    cluster.fail(0)
    cluster.apply(web(2))
    cluster.settle()
    assert cluster.names() == ["1.1", "2.1"]


def test_of_equally_new_ones_those_on_the_most_crowded_node_by_then_go() -> None:
    one_gb = ContainerConfig(
        "app", command=("serve",), resource_requests=NodeResources(memory_mb=1000)
    )
    cluster = PlannedCluster(0)
    for node, room in (("n1", 3), ("n2", 2), ("n3", 1)):
        cluster.add_node(node, NodeResources(memory_mb=1000 * room))
    cluster.apply(web(6, containers=(one_gb,)))
    cluster.settle()
    cluster.apply(web(3, containers=(one_gb,)))
    cluster.settle()
    assert sorted(place.node for place in cluster.places()) == ["n1", "n2", "n3"]


def test_a_slot_taken_again_gets_a_name_never_used_before() -> None:
    cluster = running(3)
    cluster.apply(web(1))
    cluster.settle()
    cluster.apply(web(3))
    cluster.settle()
    assert cluster.names() == ["0.1", "1.2", "2.2"]


def test_scaling_up_again_waits_for_what_still_stops() -> None:
    cluster = running(3)
    cluster.apply(web(1))
    cluster.lead()
    cluster.apply(web(3))
    made = cluster.lead()
    assert not any(isinstance(each, Place) for change in made.changes for each in change.actions)
    assert "2 slots wait for instances that are still stopping" in cluster.waiting()
    cluster.settle()
    assert len(cluster.places()) == 3


def test_the_first_failure_is_made_good_at_once_with_its_reason() -> None:
    cluster = running(3)
    cluster.fail(1)
    cluster.lead()
    place = cluster.place_of(1)
    assert cluster.names() == ["0.1", "1.2", "2.1"]
    reason = cluster.state.assignments[place].record.reason
    assert "replaces default.web.1.1: exited with code 1" in reason


def test_failures_in_a_row_back_off_from_10_s_doubling_to_5_minutes() -> None:
    cluster = running(1)
    delays = []
    for _ in range(8):
        cluster.fail(0)
        made = cluster.lead()
        until = made.wake_at.get(KEY)
        delays.append(until - cluster.now if until else 0.0)
        cluster.now = until or cluster.now
        cluster.settle()
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]


def test_an_attempt_that_lived_long_wipes_the_slate_clean() -> None:
    cluster = running(1)
    for _ in range(3):
        cluster.fail(0)
        cluster.wait(400)
        cluster.settle()
    cluster.fail(0, lived=601)
    assert cluster.plan().wake_at == {}
    assert cluster.lead().changes


def test_an_orderly_shutdown_of_a_node_owes_no_back_off() -> None:
    cluster = running(1)
    for _ in range(5):
        cluster.fail(0, cause=ExitCause.NODE_SHUTDOWN)
        cluster.settle()
    assert cluster.names() == ["0.6"]
    assert cluster.state.assignments[cluster.place_of(0)].record.failures == 0


def test_a_failed_attempt_is_replaced_elsewhere_if_it_can_be() -> None:
    cluster = running(1)
    node = cluster.place_of(0).node
    cluster.fail(0)
    cluster.settle()
    assert cluster.place_of(0).node != node


def test_deleting_stops_then_confirms_then_forgets() -> None:
    cluster = running(2)
    cluster.delete(KEY)
    made = cluster.lead()
    assert [type(each) for change in made.changes for each in change.actions] == [Stop, Stop]
    assert cluster.lead().changes == ()
    cluster.work()
    made = cluster.lead()
    assert [type(each) for change in made.changes for each in change.actions] == [Forget, Forget]
    cluster.settle()
    assert not cluster.state.statuses
    assert not cluster.state.templates
    assert not cluster.state.observations


def test_a_lost_node_is_waited_for_then_its_slots_are_filled_elsewhere() -> None:
    cluster = running(3)
    lost = cluster.place_of(0).node
    cluster.lose(lost)
    made = cluster.lead()
    assert made.wake_at[KEY] == cluster.now + 30
    assert not any(change.actions for change in made.changes)
    cluster.wait(30)
    cluster.lead()
    assert cluster.names() == ["0.2", "1.1", "2.1"]
    assert cluster.place_of(0).node != lost


def test_a_node_that_comes_back_in_time_keeps_its_instances() -> None:
    cluster = running(3)
    cluster.lose("n1")
    cluster.wait(29)
    cluster.lead()
    cluster.revive("n1")
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]


def test_a_node_that_comes_back_late_finds_its_instances_stopped() -> None:
    cluster = running(3)
    cluster.lose("n1")
    cluster.wait(30)
    cluster.settle()
    cluster.revive("n1")
    cluster.settle()
    assert len(cluster.state.assignments) == 3
    assert len(cluster.places()) == 3


def test_wait_means_at_most_once_until_somebody_declares_the_node_lost() -> None:
    cluster = running(3, on_node_lost=OnNodeLost.WAIT)
    lost = cluster.place_of(0).node
    cluster.lose(lost)
    cluster.wait(100_000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    assert any("on_node_lost is `wait`" in each for each in cluster.waiting())
    cluster.say_of_node(lost, DesiredNode(is_declared_lost=True))
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]


def test_a_declaration_ends_with_the_nodes_next_session() -> None:
    cluster = running(3, on_node_lost=OnNodeLost.WAIT)
    cluster.lose("n1")
    cluster.say_of_node("n1", DesiredNode(is_declared_lost=True))
    cluster.settle()
    cluster.add_node("n1")
    cluster.settle()
    cluster.apply(web(6, on_node_lost=OnNodeLost.WAIT))
    cluster.settle()
    there = [place for place in cluster.places() if place.node == "n1"]
    cluster.lose("n1")
    cluster.wait(1000)
    cluster.settle()
    assert there
    assert [place for place in cluster.places() if place.node == "n1"] == there


def test_when_most_nodes_vanish_nothing_is_moved_until_overruled() -> None:
    cluster = running(6)
    cluster.lose("n1")
    cluster.lose("n2")
    cluster.wait(1000)
    cluster.settle()
    assert {place.node for place in cluster.places()} == {"n1", "n2", "n3"}
    assert any("nothing is moved" in each for each in cluster.waiting())
    cluster.say_of_node("n1", DesiredNode(is_declared_lost=True))
    cluster.settle()
    assert "n1" not in {place.node for place in cluster.places()}


def test_a_removed_node_is_forgotten_with_all_that_was_on_it() -> None:
    cluster = running(3)
    cluster.lose("n1")
    cluster.drop(cluster.keys.node_report("n1"))
    cluster.settle()
    assert "n1" not in {place.node for place in cluster.state.assignments}
    assert "n1" not in {place.node for place in cluster.state.observations}
    assert len(cluster.places()) == 3


def test_a_new_template_is_rolled_out_one_at_a_time() -> None:
    cluster = running(3)
    cluster.apply(web(3, stop_grace_seconds=5.0))
    for _ in range(20):
        cluster.lead()
        stopping = cluster.state.statuses[KEY].record.stopping
        starting = cluster.state.statuses[KEY].record.pending
        assert stopping + starting <= 1
        cluster.work()
    assert cluster.names() == ["0.2", "1.2", "2.2"]
    assert {cluster.state.assignments[each].record.generation for each in cluster.places()} == {2}


def test_a_rollout_that_does_not_come_up_stops_by_itself() -> None:
    cluster = running(3)
    cluster.apply(web(3, stop_grace_seconds=5.0))
    for _ in range(10):
        cluster.lead()
        cluster.work()
        for place in cluster.places():
            if cluster.state.assignments[place].record.generation == 2:
                cluster.fail(place.instance.slot)
        cluster.lead()
    generations = [cluster.state.assignments[each].record.generation for each in cluster.places()]
    assert sorted(generations) == [1, 1, 2]


def test_what_fits_nowhere_says_why_and_holds_nobody_up() -> None:
    big = ContainerConfig(
        "app", command=("serve",), resource_requests=NodeResources(memory_mb=9000)
    )
    cluster = PlannedCluster(2)
    cluster.apply(web(1, name="a-big", containers=(big,)))
    cluster.apply(web(2))
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1"]
    assert cluster.waiting() == (
        "slot 0 has no node: none of 2 nodes fits: 2 lack 9000 MB of memory (most free: 4000 MB on"
        " n1); with 5000 MB of memory less, 2 nodes would fit",
    )
    assert cluster.plan().unplaced == (replace(web(), name="a-big").key,)


def test_resources_and_host_ports_are_never_given_twice() -> None:
    port = ContainerConfig(
        "app",
        command=("serve",),
        ports=(PortMapping(80, host_port=8080),),
        resource_requests=NodeResources(cpu_cores=1.5),
    )
    cluster = PlannedCluster(2)
    cluster.apply(web(3, containers=(port,)))
    cluster.settle()
    assert [place.node for place in cluster.places()] == ["n1", "n2"]
    assert any("host port 8080/tcp taken" in each for each in cluster.waiting())


def test_a_cordoned_node_takes_nothing_new_and_keeps_what_it_has() -> None:
    cluster = running(3)
    cluster.say_of_node("n1", DesiredNode(availability=Availability.CORDONED))
    cluster.apply(web(6))
    cluster.settle()
    assert sum(place.node == "n1" for place in cluster.places()) == 1


def test_edited_replicas_are_obeyed_and_an_edited_template_is_told() -> None:
    cluster = running(2)
    edited = replace(cluster.state.workloads[KEY].record, spec=web(4, stop_grace_seconds=1.0))
    cluster.put(cluster.keys.workload(KEY), edited)
    cluster.settle()
    assert len(cluster.places()) == 4
    assert any("edited in the store" in each for each in cluster.waiting())


def test_nothing_is_placed_whose_template_is_missing() -> None:
    cluster = running(2)
    cluster.drop(cluster.keys.revision(KEY, 1))
    cluster.put(cluster.keys.workload(KEY), DesiredWorkload(web(4), 1))
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1"]
    assert cluster.waiting() == ("the template of generation 1 is missing: apply it again",)


def test_of_many_sentences_that_say_what_waits_the_status_has_the_first_and_their_number() -> None:
    cluster = PlannedCluster(0)
    cluster.apply(web(MAX_SENTENCES + 3))
    cluster.settle()
    waiting = cluster.state.statuses[KEY].record.waiting
    assert waiting[0] == "slot 0 has no node: there is no node yet"
    assert (len(waiting), waiting[-1]) == (MAX_SENTENCES + 1, "and 3 more")


def test_a_large_workload_comes_in_transaction_sized_parts() -> None:
    cluster = PlannedCluster(3)
    cluster.apply(web(2 * MAX_PART_OPS + 5))
    made = cluster.plan()
    assert [len(change.actions) for change in made.changes] == [MAX_PART_OPS, MAX_PART_OPS, 5]
    cluster.settle()
    assert cluster.state.statuses[KEY].record.running == 2 * MAX_PART_OPS + 5


def test_a_failed_instance_is_forgotten_in_the_transaction_that_replaces_it() -> None:
    cluster = running(1)
    cluster.report(cluster.place_of(0), WorkloadInstanceStatus.SUCCEEDED)
    (change,) = cluster.plan().changes
    assert [type(each) for each in change.actions] == [Forget, Place]


def test_old_templates_are_kept_for_a_while_then_cleared() -> None:
    cluster = running(1)
    for generation in range(2, 20):
        cluster.apply(web(1, stop_grace_seconds=float(generation)))
        cluster.settle()
    kept = [name.generation for name in cluster.state.revisions_of(KEY)]
    assert kept == list(range(9, 20))


def test_two_attempts_of_a_slot_that_end_together_leave_one_vacancy() -> None:
    cluster = PlannedCluster(4)
    cluster.apply(web(1))
    cluster.lead()
    cluster.apply(web(2, stop_grace_seconds=1.0))
    cluster.lead()
    cluster.apply(web(2, stop_grace_seconds=2.0))
    cluster.lead()
    cluster.settle()
    assert [place.instance.slot for place in cluster.places()] == [0, 1]


def test_a_definition_that_cannot_be_read_is_not_taken_for_a_deleted_one() -> None:
    cluster = running(2)
    status = cluster.state.statuses[KEY].record
    cluster.drop(cluster.keys.workload(KEY))
    cluster.put_bytes(cluster.keys.workload(KEY), b"{")
    assert cluster.plan().changes == ()
    assert "nothing is done for default/web" in cluster.waiting()[0]
    assert cluster.state.statuses[KEY].record == status
