"""Both schedulers: never over-commit, say why not, decide the same whatever the order."""

from __future__ import annotations

import random

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.model.resources import NodeResources
from orchestrator.scheduler.protocol import (
    AssignNode,
    Error,
    NodeSnapshot,
    NoPlacement,
    Scheduler,
    ScheduleRequest,
)
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.spread import SpreadScheduler

SCHEDULERS = [SimpleScheduler(), SpreadScheduler()]


def node(name: str, cpu: float = 4, **changes: object) -> NodeSnapshot:
    allocatable = NodeResources(cpu_cores=cpu, memory_mb=1000).quantities()
    return NodeSnapshot(name, allocatable, **changes)  # type: ignore[arg-type]


def request(slot: int = 0, cpu: float = 1, **changes: object) -> ScheduleRequest:
    name = InstanceName("default", "web", slot, 1)
    quantities = NodeResources(cpu_cores=cpu).quantities()
    return ScheduleRequest(name, quantities, **changes)  # type: ignore[arg-type]


def chosen(scheduler: Scheduler, requests: list[ScheduleRequest], nodes: list[NodeSnapshot]) -> str:
    decisions = scheduler.schedule(requests, nodes)
    return " ".join(each.node if isinstance(each, AssignNode) else "-" for each in decisions)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda each: type(each).__name__)
class TestEveryScheduler:
    def test_replicas_go_to_different_nodes(self, scheduler: Scheduler) -> None:
        nodes = [node("n1"), node("n2"), node("n3")]
        assert chosen(scheduler, [request(i) for i in range(3)], nodes) == "n1 n2 n3"

    def test_no_node_is_given_more_than_it_has(self, scheduler: Scheduler) -> None:
        requests = [request(i, cpu=1.5) for i in range(5)]
        decisions = scheduler.schedule(requests, [node("n1"), node("n2", cpu=2)])
        assert sum(isinstance(each, AssignNode) for each in decisions) == 3
        assert isinstance(decisions[-1], NoPlacement)

    def test_what_is_used_counts(self, scheduler: Scheduler) -> None:
        full = node("n1", used={"cpu_cores": 4000})
        assert chosen(scheduler, [request()], [full, node("n2")]) == "n2"

    def test_a_host_port_is_given_once_per_node_and_protocol(self, scheduler: Scheduler) -> None:
        port = frozenset({("tcp", 80)})
        requests = [request(i, host_ports=port) for i in range(3)]
        requests.append(request(3, host_ports=frozenset({("udp", 80)})))
        taken = node("n2", used_ports=port)
        decisions = scheduler.schedule(requests, [node("n1"), taken, node("n3")])
        assert [type(each) for each in decisions] == [
            AssignNode,
            AssignNode,
            NoPlacement,
            AssignNode,
        ]

    def test_a_runtime_that_the_node_lacks(self, scheduler: Scheduler) -> None:
        (decision,) = scheduler.schedule([request(runtime="oci")], [node("n1")])
        assert isinstance(decision, NoPlacement)
        assert decision.refusals == {"n1": "has no oci runtime"}

    def test_every_node_says_why_not(self, scheduler: Scheduler) -> None:
        nodes = [
            node("n1", refusal="is cordoned"),
            node("n2", cpu=0.5),
            node("n3", cpu=0.5),
            node("n4", used_ports=frozenset({("tcp", 80)})),
        ]
        (decision,) = scheduler.schedule([request(host_ports=frozenset({("tcp", 80)}))], nodes)
        assert isinstance(decision, NoPlacement)
        assert set(decision.refusals) == {"n1", "n2", "n3", "n4"}
        assert decision.reason == (
            "none of 4 nodes fits: n2, n3: lacks 0.5 cores (free: 0.5 cores);"
            " n1: is cordoned; n4: host port 80/tcp is taken"
        )

    def test_many_nodes_with_one_reason_are_counted(self, scheduler: Scheduler) -> None:
        nodes = [node(f"n{i}", refusal="is cordoned") for i in range(5)]
        (decision,) = scheduler.schedule([request()], nodes)
        assert decision.reason == "none of 5 nodes fits: 5 nodes (n0, n1, ...): is cordoned"

    def test_of_many_reasons_the_most_frequent_are_told(self, scheduler: Scheduler) -> None:
        nodes = [node(f"n{i}", cpu=0.1 * min(i, 6)) for i in range(9)]
        (decision,) = scheduler.schedule([request()], nodes)
        assert decision.reason == (
            "none of 9 nodes fits: n6, n7, n8: lacks 0.4 cores (free: 0.6 cores);"
            " n0: lacks 1 cores (free: 0 cores); n1: lacks 0.9 cores (free: 0.1 cores);"
            " n2: lacks 0.8 cores (free: 0.2 cores); n3: lacks 0.7 cores (free: 0.3 cores);"
            " and 2 more reasons"
        )

    def test_no_node_at_all(self, scheduler: Scheduler) -> None:
        (decision,) = scheduler.schedule([request()], [])
        assert decision.reason == "there is no node yet"

    def test_a_request_that_makes_no_sense(self, scheduler: Scheduler) -> None:
        wrong = ScheduleRequest(InstanceName("default", "web", 0, 1), {"cpu_cores": -1})
        decisions = scheduler.schedule([wrong, request(1)], [node("n1")])
        assert isinstance(decisions[0], Error)
        assert isinstance(decisions[1], AssignNode)

    def test_one_that_fits_nowhere_holds_nobody_up(self, scheduler: Scheduler) -> None:
        requests = [request(0, cpu=99), request(1)]
        assert chosen(scheduler, requests, [node("n1")]) == "- n1"

    def test_the_order_of_the_nodes_does_not_show(self, scheduler: Scheduler) -> None:
        nodes = [node(f"n{i}", cpu=1 + i % 3) for i in range(7)]
        requests = [request(i, cpu=0.7) for i in range(9)]
        expected = scheduler.schedule(requests, nodes)
        for seed in range(5):
            random.Random(seed).shuffle(nodes)
            assert scheduler.schedule(requests, nodes) == expected


def test_spread_prefers_nodes_without_this_workload_to_emptier_ones() -> None:
    has_it = node("n1", instances={("default", "web"): 1})
    loaded = node("n2", used={"cpu_cores": 2500}, instances={("default", "db"): 5})
    assert chosen(SpreadScheduler(), [request()], [has_it, loaded]) == "n2"


def test_spread_takes_the_least_loaded_of_equals() -> None:
    nodes = [node("n1", used={"cpu_cores": 2000}), node("n2", used={"cpu_cores": 1000})]
    assert chosen(SpreadScheduler(), [request()], nodes) == "n2"


def test_spread_avoids_the_node_of_the_last_failure_if_it_can() -> None:
    nodes = [node("n1"), node("n2", used={"cpu_cores": 3000})]
    assert chosen(SpreadScheduler(), [request(avoid="n1")], nodes) == "n2"
    assert chosen(SpreadScheduler(), [request(avoid="n1")], nodes[:1]) == "n1"


def test_simple_starts_its_circle_at_the_emptiest_node() -> None:
    nodes = [node("n1", instances={("default", "db"): 2}), node("n2"), node("n3")]
    requests = [request(i) for i in range(4)]
    assert chosen(SimpleScheduler(), requests, nodes) == "n2 n3 n1 n2"
