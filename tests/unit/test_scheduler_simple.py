"""Round robin: the next node in turn that fits."""

from __future__ import annotations

from orchestrator.model.placement import PriorityClass, TopologySpread
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.protocol import AssignNode, Error, NoPlacement
from orchestrator.scheduler.simple import SimpleScheduler
from tests.support.placing import PlacingCluster, asked, cluster, shape

SIMPLE = SimpleScheduler()


def test_nodes_take_turns_from_the_emptiest_on() -> None:
    made = cluster("n1", "n2", "n3")
    made.holds("n1", shape("db", 0), 2)
    assert made.place(asked(shape(), 5), SIMPLE) == "n2 n3 n1 n2 n3"


def test_a_node_that_does_not_fit_is_passed_over() -> None:
    made = cluster("n1", "n3")
    made.node("n2", 1.5)
    assert made.place(asked(shape(), 5), SIMPLE) == "n1 n2 n3 n1 n3"


def test_the_urgent_have_the_first_turn() -> None:
    requests = [*asked(shape("a")), *asked(shape("b", priority=PriorityClass.HIGH))]
    assert cluster("n1", cpu=1).place(requests, SIMPLE) == "- n1"


def test_what_fits_nowhere_holds_up_nobody_and_says_why() -> None:
    made = cluster("n1")
    decisions = made.decide([*asked(shape("a", 99), 2), *asked(shape("b"))], SIMPLE)
    assert isinstance(decisions[0], NoPlacement)
    assert "99 cores" in decisions[0].reason
    assert decisions[1] == decisions[0]
    assert decisions[2] == AssignNode("n1", "next in turn")


def test_what_fits_nowhere_is_asked_again_when_another_has_found_its_place() -> None:
    made = PlacingCluster()
    made.node("n1", zone="a")
    made.node("n2", 1, zone="b")
    even, small = shape("web", 2, spread=(TopologySpread("zone"),)), shape("web", 1)
    requests = [*asked(even, 2), *asked(small, first=2), *asked(even, first=3)]
    assert made.place(requests, SIMPLE) == "n1 - n2 n1"


def test_a_request_that_makes_no_sense_is_an_error() -> None:
    made = cluster("n1").decide(asked(shape("web", -1)), SIMPLE)
    assert made == [Error("asks for a negative amount of cpu_cores")]


def test_devices_are_given_out() -> None:
    made = PlacingCluster()
    made.node("n1", gpus=("T4", "T4"))
    decisions = made.decide(asked(shape(gpu=GpuNeed(1000, 1)), 3), SIMPLE)
    assert [each.gpus for each in decisions if isinstance(each, AssignNode)] == [(0,), (1,)]


def test_without_nodes_there_is_no_turn() -> None:
    assert PlacingCluster().place(asked(shape()), SIMPLE) == "-"


def test_it_explains_itself_as_the_other_scheduler_does() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("db", 4))
    said = SIMPLE.explain(asked(shape())[0], made.snapshot())
    assert said.summary == "1 of 2 nodes fit"
