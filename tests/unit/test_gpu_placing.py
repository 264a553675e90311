"""GPUs through the whole scheduler: devices, models, fractions, and who keeps away from them."""

from __future__ import annotations

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import GpuPolicyName, NodeSelector, Placement, Strategy
from orchestrator.model.workload import GpuNeed, WorkloadKey
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import (
    AssignNode,
    NoPlacement,
    ScheduleDecision,
    ScheduleRequest,
    Shape,
)
from orchestrator.scheduler.snapshot import Claim, Snapshot
from orchestrator.scheduler.vector import VectorScheduler

CORES = {"cpu_cores": 8000}


def node(name: str, *models: str, **labels: str) -> NodeFacts:
    return NodeFacts(name, CORES, gpus=models, labels=labels)


def shape(
    name: str, gpu: float = 0, *models: str, cpu: int = 100, placement: Placement | None = None
) -> Shape:
    milli = round(gpu * 1000)
    need = GpuNeed(milli, 1, models) if 0 < milli < 1000 else GpuNeed(1000, milli // 1000, models)
    return Shape(
        WorkloadKey("default", name),
        {"cpu_cores": cpu},
        gpu=need if gpu else None,
        placement=placement or Placement(),
    )


def placed(
    nodes: list[NodeFacts],
    *wanted: tuple[Shape, int],
    policy: GpuPolicyName = GpuPolicyName.EXPECTED_FILL,
) -> list[ScheduleDecision]:
    snapshot = Snapshot.of(nodes, {})
    requests = [
        ScheduleRequest(InstanceName(*each.workload, slot, 1), each)
        for each, replicas in wanted
        for slot in range(replicas)
    ]
    return VectorScheduler(gpu_policy=policy).schedule(requests, snapshot)


def told(decisions: list[ScheduleDecision]) -> list[str]:
    return [
        f"{each.node}{list(each.gpus)}" if isinstance(each, AssignNode) else "-"
        for each in decisions
    ]


@pytest.mark.parametrize("policy", list(GpuPolicyName))
def test_no_device_is_given_more_than_it_has(policy: GpuPolicyName) -> None:
    nodes = [node("n1", "A", "A"), node("n2", "A")]
    decisions = placed(nodes, (shape("web", 0.6), 4), policy=policy)
    assert sorted(told(decisions)) == ["-", "n1[0]", "n1[1]", "n2[0]"]
    assert isinstance(decisions[-1], NoPlacement)
    assert "lack free GPUs" in decisions[-1].reason


def test_fractions_share_a_device_before_they_open_another() -> None:
    nodes = [node("n1", "A", "A"), node("n2", "A", "A")]
    assert len({*told(placed(nodes, (shape("half", 0.5), 2)))}) == 1


def test_several_devices_are_on_one_node() -> None:
    nodes = [node("n1", "A"), node("n2", "A", "A", "A")]
    assert told(placed(nodes, (shape("big", 2), 2))) == ["n2[0, 1]", "-"]


def test_a_model_is_had_or_waited_for() -> None:
    nodes = [node("n1", "A"), node("n2", "B")]
    assert told(placed(nodes, (shape("web", 1, "B"), 2))) == ["n2[0]", "-"]


def test_a_node_of_several_models_gives_the_one_that_is_wanted() -> None:
    nodes = [node("n1", "A", "B", "C")]
    assert told(placed(nodes, (shape("web", 1, "B", "C"), 3))) == ["n1[1]", "n1[2]", "-"]
    assert told(placed(nodes, (shape("any", 0.5), 1))) == ["n1[0]"]


def test_what_the_workload_prefers_goes_before_what_saves_room() -> None:
    nodes = [node("n1", "A"), node("n2", "A", "A", zone="b")]
    zone_b = Placement(nodes=(NodeSelector("zone", values=("b",), weight=1),))
    assert told(placed(nodes, (shape("web", 1, placement=zone_b), 3))) == [
        "n2[0]",
        "n2[1]",
        "n1[0]",
    ]


def test_a_workload_that_says_how_it_is_placed_is_obeyed() -> None:
    nodes = [node("n1", "A", "A"), node("n2", "A", "A")]
    spread = Placement(strategy=Strategy.SPREAD)
    assert told(placed(nodes, (shape("web", 0.5, placement=spread), 3))) == [
        "n1[0]",
        "n2[0]",
        "n1[0]",
    ]
    assert told(placed(nodes, (shape("web", 2, placement=spread), 3))) == [
        "n1[0, 1]",
        "n2[0, 1]",
        "-",
    ]


def test_who_needs_no_gpu_keeps_away_from_them() -> None:
    nodes = [node("n1", "A"), node("n2")]
    assert told(placed(nodes, (shape("web", cpu=3000), 3))) == ["n2[]", "n2[]", "n1[]"]


def test_where_all_nodes_have_gpus_it_takes_the_cores_that_no_gpu_needs() -> None:
    nodes = [node("n1", "A", "A"), node("n2", "A", "A")]
    wanted = (shape("gpu", 2, cpu=6000), 1), (shape("web", cpu=2000), 1)
    first, second = told(placed(nodes, *wanted))
    assert first[:2] == second[:2]
    assert told(placed([], (shape("web"), 1))) == ["-"]


def test_what_runs_there_counts_as_demand_and_as_taken() -> None:
    half = shape("half", 0.5)
    claim = Claim(InstanceName("default", "half", 0, 1), half, gpus=(1,))
    snapshot = Snapshot.of([node("n1", "A", "A"), node("n2", "A", "A")], {"n1": [claim]})
    request = ScheduleRequest(InstanceName("default", "half", 1, 1), half)
    assert told(VectorScheduler().schedule([request], snapshot)) == ["n1[1]"]
    assert snapshot.gpu_shapes == {half: 1}
    fewer = snapshot.with_nodes([node("n1", "A", "A")])
    assert fewer.gpu_shapes == {half: 1}
    snapshot.release("n1", claim.instance)
    assert not snapshot.gpu_shapes


def test_gpus_without_other_resources() -> None:
    nodes = [NodeFacts("n1", {}, gpus=("A",))]
    bare = Shape(WorkloadKey("default", "web"), gpu=GpuNeed(400, 1))
    assert told(placed(nodes, (bare, 3))) == ["n1[0]", "n1[0]", "-"]


@pytest.mark.parametrize("policy", list(GpuPolicyName))
def test_why_here_and_not_there_is_answered_by_what_decides(policy: GpuPolicyName) -> None:
    """The order that is told is the one in which they are taken, one after the other."""
    facts = [node("n1", "A", "A"), node("n2", "A"), node("n3", "B", "A"), node("n4")]
    scheduler, wanted = VectorScheduler(gpu_policy=policy), shape("half", 0.5)
    snapshot = Snapshot.of(facts, {})
    request = ScheduleRequest(InstanceName("default", "half", 0, 1), wanted)
    (decision,) = scheduler.schedule([request], snapshot)
    first, *others = scheduler.explain(request, snapshot).nodes
    assert isinstance(decision, AssignNode)
    assert (first.node, first.rank) == (decision.node, 1)
    assert first.standing == f"number 1 by the GPU policy {policy.value}"
    assert [each.rank for each in others] == [2, 3, 0]
    assert others[-1].node == "n4"
