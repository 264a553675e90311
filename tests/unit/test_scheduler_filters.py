"""Which nodes take an instance, and which never do: state, runtime, labels, taints, ports, room."""

from __future__ import annotations

import pytest

from orchestrator.model.placement import (
    NodeSelector,
    Operator,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.facts import MOST_AMOUNT, Facts, NodeFacts
from orchestrator.scheduler.feasibility import Filter, feasible, stages
from orchestrator.scheduler.protocol import Error, NoPlacement, Shape
from orchestrator.scheduler.snapshot import Snapshot
from tests.support.placing import PlacingCluster, asked, cluster, shape

HTTP = frozenset({("tcp", 80)})
HTTP3 = frozenset({("udp", 80)})


def fitting(made: PlacingCluster, wanted: Shape) -> list[str]:
    snapshot = made.snapshot()
    mask = feasible(snapshot, wanted)
    return [name for name, fits in zip(snapshot.facts.names, mask, strict=True) if fits]


def test_a_cordoned_node_takes_nothing() -> None:
    made = cluster("n1")
    made.node("n2", refusal="is cordoned")
    assert fitting(made, shape()) == ["n1"]


def test_a_node_needs_the_runtime() -> None:
    made = cluster("n1")
    made.node("n2", runtimes=frozenset({"process", "oci"}))
    assert fitting(made, shape(runtime="oci")) == ["n2"]
    assert fitting(made, shape()) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        (Operator.IN, ("a", "b"), "n1 n2"),
        (Operator.NOT_IN, ("a",), "n2 n4"),
        (Operator.EXISTS, (), "n1 n2"),
        (Operator.DOES_NOT_EXIST, (), "n4"),
        (Operator.GT, ("1",), ""),
    ],
)
def test_a_selector_asks_labels(operator: Operator, values: tuple[str, ...], expected: str) -> None:
    made = cluster("n4")
    made.node("n1", zone="a")
    made.node("n2", zone="b")
    selector = NodeSelector("zone", operator, values)
    assert " ".join(fitting(made, shape(nodes=(selector,)))) == expected


def test_all_selectors_must_be_met_and_the_name_is_a_label() -> None:
    made = PlacingCluster()
    made.node("n1", zone="a", node="another name")
    made.node("n2", zone="a")
    selectors = (NodeSelector("zone", values=("a",)), NodeSelector("node", values=("n1",)))
    assert fitting(made, shape(nodes=selectors)) == ["n1"]


def test_a_selector_with_a_weight_refuses_nobody() -> None:
    assert fitting(cluster("n1"), shape(nodes=(NodeSelector("zone", weight=5),))) == ["n1"]


@pytest.mark.parametrize("effect", [TaintEffect.NO_SCHEDULE, TaintEffect.NO_EXECUTE])
def test_a_taint_keeps_away_what_does_not_tolerate_it(effect: TaintEffect) -> None:
    made = cluster("n1")
    made.node("n2", taints=(Taint("gpu", "yes", effect), Taint("old")))
    gpu = Toleration("gpu", value="yes")
    old = Toleration("old", TolerationOperator.EXISTS)
    assert fitting(made, shape(tolerations=(gpu,))) == ["n1"]
    assert fitting(made, shape(tolerations=(gpu, old))) == ["n1", "n2"]


def test_a_taint_may_only_discourage() -> None:
    made = PlacingCluster()
    made.node("n1", taints=(Taint("old", effect=TaintEffect.PREFER_NO_SCHEDULE),))
    assert fitting(made, shape()) == ["n1"]


def test_a_host_port_is_there_once_for_each_protocol() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("db", host_ports=HTTP))
    assert fitting(made, shape(host_ports=HTTP)) == ["n2"]
    assert fitting(made, shape(host_ports=HTTP3)) == ["n1", "n2"]


def test_replicas_with_a_host_port_share_no_node() -> None:
    assert cluster("n1", "n2").place(asked(shape(host_ports=HTTP), 3)) == "n1 n2 -"


def test_no_node_is_given_more_than_it_has() -> None:
    made = cluster("n1", cpu=3)
    made.node("n2", 2)
    assert made.place(asked(shape("web", 1.5), 4)) == "n1 n2 n1 -"


def test_what_is_held_counts_until_it_is_gone() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("db", 3.5))
    assert fitting(made, shape()) == ["n2"]


def test_a_resource_that_some_nodes_lack_or_all_of_them() -> None:
    made = cluster("n1")
    made.node("n2", allocatable=NodeResources(custom={"fpga": 1.0}).quantities())
    assert fitting(made, shape(quantities={"fpga": 1000})) == ["n2"]
    assert made.place(asked(shape(quantities={"licence": 1}), 2)) == "- -"


def test_zero_asks_for_nothing_also_of_what_is_over_committed_or_unknown() -> None:
    made = cluster("n1")
    made.holds("n1", shape("db", 5))
    assert fitting(made, shape(quantities={"cpu_cores": 0, "licence": 0})) == ["n1"]


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (-1, "asks for a negative amount of fpga"),
        (10**30, "asks for more fpga than any node can have"),
    ],
)
def test_a_request_that_makes_no_sense_holds_up_nobody(amount: int, reason: str) -> None:
    absurd = asked(shape("absurd", quantities={"cpu_cores": 1, "fpga": amount}))
    decisions = cluster("n1").decide([*absurd, *asked(shape())])
    assert decisions[0] == Error(reason)
    assert not isinstance(decisions[1], Error | NoPlacement)


def test_a_row_that_somebody_has_spoilt_closes_its_node_and_no_more() -> None:
    made = cluster("n1", "n2", "n3")
    made.node("n4", allocatable={"cpu_cores": 10**30})
    made.holds("n1", shape("huge", quantities={"cpu_cores": 10**30}))
    made.holds("n2", shape("negative", quantities={"cpu_cores": -(10**30)}))
    assert fitting(made, shape("web", 4)) == ["n2", "n3", "n4"]
    assert fitting(made, shape(quantities={"cpu_cores": MOST_AMOUNT})) == ["n4"]
    assert fitting(made, shape("web", 5)) == ["n4"]


def test_a_cluster_without_nodes() -> None:
    decisions = PlacingCluster().decide(asked(shape(), 2))
    assert all(isinstance(each, NoPlacement) for each in decisions)


def test_gpus_are_counted_by_device_and_by_model() -> None:
    made = cluster("n0")
    made.node("n1", gpus=("V100", "V100"))
    made.node("n2", gpus=("T4",))
    made.node("n3", gpus=("T4", "V100", "T4"))
    assert fitting(made, shape(gpu=GpuNeed(1000, 2))) == ["n1", "n3"]
    assert fitting(made, shape(gpu=GpuNeed(460, 1, ("T4",)))) == ["n2", "n3"]
    assert fitting(made, shape(gpu=GpuNeed(1000, 2, ("T4", "V100")))) == ["n1", "n3"]


def test_each_filter_can_be_asked_by_itself() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("db", host_ports=HTTP))
    wanted = shape("web", 9, nodes=(NodeSelector("zone"),), host_ports=HTTP, gpu=GpuNeed(1000, 1))
    answers = {stage.filter: stage.passes.tolist() for stage in stages(made.snapshot(), wanted)}
    assert answers == {
        Filter.STATE: [True, True],
        Filter.RUNTIME: [True, True],
        Filter.SELECTOR: [False, False],
        Filter.TAINT: [True, True],
        Filter.PORT: [False, True],
        Filter.GPU: [False, False],
        Filter.RESOURCE: [False, False],
    }


def test_what_facts_remember_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.scheduler.facts.MAX_KEPT", 3)
    facts = Facts([NodeFacts("n1", {})])
    for number in range(10):
        assert not facts.has_runtime(f"runtime-{number}").any()
        assert facts.has_runtime("process").all()
    assert len(Snapshot(facts).facts._kept) <= 3
