"""`on_node_lost: fence`: replaced by itself, but only when the node has surely stopped it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model.instance import ExitCause, FenceTerms
from orchestrator.model.node import DesiredNode
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.planning.hypotheses import LoseNode
from orchestrator.planning.loss import fenced_after_seconds
from orchestrator.simulation.samples import web
from tests.support.forecasts import foreseen
from tests.support.planned_cluster import PlannedCluster

FENCE = OnNodeLost.FENCE
SURELY_STOPPED = (30 + 10) * 1.1 + 1


def fenced(replicas: int, **changes: Any) -> WorkloadDefinition:
    return web(replicas, **{"on_node_lost": FENCE, **changes})


def running(spec: WorkloadDefinition, *, has_watchdog: bool = True) -> PlannedCluster:
    cluster = PlannedCluster(0)
    for node in ("n1", "n2", "n3"):
        cluster.add_node(node, has_watchdog=has_watchdog)
    cluster.apply(spec)
    cluster.settle()
    return cluster


def test_the_node_is_told_what_it_promises() -> None:
    cluster = running(fenced(1, lost_after_seconds=7.0, stop_grace_seconds=3.0))
    promised = cluster.state.assignments[cluster.place_of(0)].record.fence
    assert promised == FenceTerms(7.0, 3.0)
    others = running(web(1))
    assert others.state.assignments[others.place_of(0)].record.fence is None


def test_it_is_replaced_when_the_watchdog_has_surely_stopped_it() -> None:
    cluster = running(fenced(3))
    cluster.lose(cluster.place_of(0).node)
    made = cluster.plan()
    (until,) = made.wake_at.values()
    assert until == cluster.now + SURELY_STOPPED
    assert "and its watchdog has surely stopped it" in cluster.waiting()[0]
    cluster.wait(SURELY_STOPPED - 0.1)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    cluster.wait(0.1)
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]
    reason = cluster.state.assignments[cluster.place_of(0)].record.reason
    assert "its watchdog has stopped it after 30 s" in reason


def test_where_no_watchdog_is_at_work_it_waits_for_a_person() -> None:
    cluster = running(fenced(3), has_watchdog=False)
    lost = cluster.place_of(0).node
    cluster.lose(lost)
    cluster.wait(100_000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    assert "no watchdog of that node has promised to stop it" in cluster.waiting()[0]
    cluster.say_of_node(lost, DesiredNode(is_declared_lost=True))
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]


def test_what_was_placed_before_has_promised_nothing() -> None:
    cluster = running(web(3, on_node_lost=OnNodeLost.WAIT))
    cluster.apply(fenced(3))
    cluster.settle()
    cluster.lose(cluster.place_of(0).node)
    cluster.wait(100_000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]


def test_the_promise_that_was_given_counts_and_not_a_newer_one() -> None:
    cluster = running(fenced(3, lost_after_seconds=300.0))
    cluster.apply(fenced(3, lost_after_seconds=1.0))
    cluster.settle()
    cluster.lose(cluster.place_of(0).node)
    cluster.wait(fenced_after_seconds(FenceTerms(300.0, 10.0)) - 1)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]
    cluster.wait(1)
    cluster.settle()
    assert cluster.names() == ["0.2", "1.1", "2.1"]


def test_what_its_node_has_stopped_for_being_cut_off_owes_no_back_off() -> None:
    cluster = running(fenced(1))
    for _ in range(4):
        cluster.fail(0, cause=ExitCause.FENCED)
        cluster.settle()
    assert cluster.names() == ["0.5"]
    assert cluster.state.assignments[cluster.place_of(0)].record.failures == 0


@pytest.mark.parametrize("has_watchdog", [True, False])
def test_a_supposed_loss_tells_the_same(has_watchdog: bool) -> None:
    cluster = running(fenced(1), has_watchdog=has_watchdog)
    [gone] = foreseen(cluster, LoseNode(cluster.place_of(0).node)).instances
    word = "its watchdog has stopped it" if has_watchdog else "no watchdog of that node"
    assert word in gone.reason


def test_nobody_is_replaced_while_most_nodes_are_lost_at_once() -> None:
    cluster = running(fenced(3))
    for node in ("n1", "n2"):
        cluster.lose(node)
    cluster.wait(1000)
    cluster.settle()
    assert cluster.names() == ["0.1", "1.1", "2.1"]


def test_a_report_without_the_field_is_of_a_node_without_watchdog() -> None:
    cluster = running(fenced(1))
    node = cluster.place_of(0).node
    report = cluster.state.reports[node].record
    cluster.put(cluster.keys.node_report(node), replace(report, has_watchdog=False))
    cluster.lose(node)
    cluster.wait(100_000)
    cluster.settle()
    assert cluster.names() == ["0.1"]
