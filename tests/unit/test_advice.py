"""What would help, when nothing fits: the smallest change, told exactly."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    Taint,
    TaintEffect,
    TopologySpread,
)
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.explain import explain
from orchestrator.scheduler.facts import Mask
from orchestrator.scheduler.protocol import AssignNode, Shape
from orchestrator.scheduler.snapshot import Snapshot
from tests.support.placing import PlacingCluster, asked, cluster, shape, zones

GPU_ONLY = Taint("gpu", "yes")
IN_A = NodeSelector("zone", values=("a",))


def advice(nodes: PlacingCluster, wanted: Shape) -> tuple[str, ...]:
    return explain(nodes.snapshot(), wanted).suggestions


def summary(nodes: PlacingCluster, wanted: Shape) -> str:
    return explain(nodes.snapshot(), wanted).summary


def test_the_smallest_shortage_comes_first_and_speaks_for_its_kind() -> None:
    nodes = PlacingCluster()
    for name, cpu in (("n1", 1), ("n2", 3.82), ("n3", 2)):
        nodes.node(name, cpu)
    assert advice(nodes, shape("web", 4)) == ("with 0.18 cores less, it would fit n2",)


def test_amounts_are_told_with_their_units() -> None:
    memory = shape(quantities={"memory_mb": 1_180_000})
    assert advice(cluster("n1", "n2"), memory) == ("with 180 MB of memory less, 2 nodes would fit",)


def test_what_is_used_up_or_not_there_at_all_must_go() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", shape("db", 5))  # more than there is: people edit rows
    wanted = shape(quantities={"cpu_cores": 100, "fpga": 1000})
    assert advice(nodes, wanted) == ("without cpu_cores and without fpga, it would fit n1",)


def test_a_change_that_is_fewer_comes_before_one_that_is_more() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 3.9, zone="b", taints=(GPU_ONLY,))
    nodes.node("n2", 1, zone="b")
    assert advice(nodes, shape("web", 4, nodes=(IN_A,))) == (
        "without zone=a and with 3 cores less, it would fit n2",
    )


def test_all_of_several_taints_are_to_be_tolerated() -> None:
    taints = (
        Taint("a"),
        Taint("b", "1", TaintEffect.NO_EXECUTE),
        Taint("c", effect=TaintEffect.PREFER_NO_SCHEDULE),
    )
    nodes = PlacingCluster()
    nodes.node("n1", taints=taints)
    assert advice(nodes, shape()) == ("tolerating a:NoSchedule and b=1:NoExecute, it would fit n1",)


def test_contradictory_selectors() -> None:
    both = (IN_A, NodeSelector("zone", values=("b",)), NodeSelector("disk", weight=5))
    assert advice(zones(n1="a", n2="c"), shape(nodes=both)) == ("without zone=b, it would fit n1",)


def test_a_label_that_nobody_has() -> None:
    quantum = NodeSelector("quantum", Operator.EXISTS)
    assert advice(cluster("n1", "n2"), shape(nodes=(quantum,))) == (
        "without quantum, 2 nodes would fit",
    )


def test_constraints_over_domains_may_be_given_up() -> None:
    nodes = zones(n1="a", n2="")
    nodes.holds("n1", shape("web", 0), 2)
    lonely = Affinity("web", topology_key="zone")
    assert advice(nodes, shape("db", affinity=(Affinity("cache"),))) == (
        "without affinity to workload cache (by node), 2 nodes would fit",
    )
    assert advice(nodes, shape("db", 4.5, anti_affinity=(lonely,))) == (
        "with 0.5 cores less, it would fit n2",
    )
    only_a = shape("db", anti_affinity=(lonely,), nodes=(IN_A,))
    assert advice(nodes, only_a) == (
        "without anti-affinity to workload web (by zone), it would fit n1",
        "without zone=a, it would fit n2",
    )
    even = shape("web", spread=(TopologySpread("zone", min_domains=2),))
    assert advice(nodes, even) == (
        "without topology spread over zone, at most 1 apart, 2 nodes would fit",
    )


def test_one_change_may_call_for_another_and_both_are_told() -> None:
    """Who tolerates the node in zone b has two zones to spread over."""
    nodes = PlacingCluster()
    nodes.node("n1", 1, zone="a", taints=(GPU_ONLY,))
    nodes.node("n2", 2, zone="b", taints=(GPU_ONLY,))
    nodes.holds("n2", shape("web", 0))
    even = shape("web", 2, spread=(TopologySpread("zone"),))
    assert advice(nodes, even) == (
        "tolerating gpu=yes:NoSchedule and without topology spread over zone, at most 1 apart,"
        " it would fit n2",
        "tolerating gpu=yes:NoSchedule and with 1 core less, it would fit n1",
    )


def test_no_advice_is_given_that_does_not_end_well() -> None:
    class Strict:
        name = "strict"

        def passes(self, snapshot: Snapshot, asked_for: Shape) -> Mask:
            return np.full(len(snapshot.facts), not asked_for.placement.tolerations)

    nodes = PlacingCluster()
    nodes.node("n1", taints=(GPU_ONLY,))
    assert explain(nodes.snapshot(), shape("web", 2), (Strict(),)).suggestions == (
        "a new node with 2 cores would take it",
    )


def test_what_others_hold_against_it_is_not_its_to_give_up() -> None:
    nodes = cluster("n1", "n2")
    for node in ("n1", "n2"):
        nodes.holds(node, shape("web", anti_affinity=(Affinity("db"),)))
    assert advice(nodes, shape("db", 2)) == ("a new node with 2 cores would take it",)


def test_a_port_that_is_taken() -> None:
    nodes = cluster("n1")
    https = frozenset({("tcp", 443)})
    nodes.holds("n1", shape("proxy", host_ports=https))
    assert advice(nodes, shape(host_ports=https)) == ("without host port 443/tcp, it would fit n1",)


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        (GpuNeed(1000, 3), ("with 2 gpu less, it would fit n2",)),
        (GpuNeed(460, 1, ("A100",)), ("with gpu 0.3, it would fit n1",)),
        (GpuNeed(1000, 2, ("A100",)), ("with gpu 0.3, it would fit n1",)),
        (GpuNeed(1000, 1, ("H100", "B200")), ("without gpu_model, it would fit n2",)),
        (GpuNeed(1000, 2, ("H100",)), ("without gpu_model and with 1 gpu less, it would fit n2",)),
    ],
)
def test_fewer_gpus_or_a_share_or_other_models(need: GpuNeed, expected: tuple[str, ...]) -> None:
    nodes = PlacingCluster()
    nodes.node("n1", gpus=("A100",))
    nodes.node("n2", gpus=("T4",))
    nodes.node("n3", 0, gpus=("T4",))
    nodes.holds("n1", shape("train", 0, gpu=GpuNeed(700, 1)), gpus=(0,))
    assert advice(nodes, shape(gpu=need))[:1] == expected


def test_no_gpus_at_all() -> None:
    wanted = shape(gpu=GpuNeed(460, 1))
    assert advice(cluster("n1"), wanted) == ("without gpu, it would fit n1",)


# What would help when it is not the request's to change


def test_a_node_that_only_its_state_keeps_from_taking_it() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 2, refusal="cannot be reached")
    nodes.node("n2", 4, refusal="is cordoned")
    assert advice(nodes, shape("web", 3)) == ("n2 would take it, but it is cordoned",)


def test_a_closed_node_may_need_a_smaller_request_too() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 2, refusal="is draining")
    here = shape("web", 3, nodes=(NodeSelector("node", values=("n1",)),))
    assert advice(nodes, here) == ("with 1 core less, n1 would take it, but it is draining",)


def test_a_new_node_is_described_by_what_is_asked_for() -> None:
    nodes = cluster("n1")
    wanted = shape(
        "web",
        2,
        runtime="oci",
        gpu=GpuNeed(1000, 2, ("A100",)),
        spread=(TopologySpread("rack"),),
        nodes=(
            NodeSelector("zone", Operator.IN, ("a", "b")),
            NodeSelector("zone", Operator.NOT_IN, ("a",)),
            NodeSelector("generation", Operator.GT, ("5",)),
            NodeSelector("generation", Operator.LT, ("7",)),
            NodeSelector("spot", Operator.DOES_NOT_EXIST),
            NodeSelector("fast", Operator.EXISTS, weight=10),
        ),
    )
    assert advice(nodes, wanted) == (
        "a new node with 2 cores, 2 gpu A100, generation=6, zone=b, a rack of its own,"
        " the oci runtime would take it",
    )


def test_a_new_node_may_be_asked_for_by_name() -> None:
    nodes = PlacingCluster()
    there = shape("web", 1, nodes=(NodeSelector("node", values=("n7",)),))
    assert advice(nodes, there) == ("a new node with 1 core, the name n7 would take it",)


def test_a_new_node_goes_where_affinity_wants_it() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 4, zone="a")
    nodes.holds("n1", shape("db"))
    close = shape("web", 1, runtime="oci", affinity=(Affinity("db", topology_key="zone"),))
    assert advice(nodes, close) == (
        "a new node with 1 core, zone=a, the oci runtime would take it",
    )


def test_a_new_node_stays_clear_of_those_who_keep_it_away() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 4, zone="a")
    nodes.holds("n1", shape("db", anti_affinity=(Affinity("web", topology_key="zone"),)))
    close = shape("web", 1, affinity=(Affinity("db", topology_key="zone"),))
    assert advice(nodes, close) == (
        "without affinity to workload db (by zone), a new node with 1 core, a zone of its own"
        " would take it",
    )


def test_a_new_node_may_need_a_saner_request_too() -> None:
    twice = (IN_A, NodeSelector("zone", values=("b",)))
    wanted = shape("web", 1, nodes=twice, runtime="oci")
    assert advice(cluster("new-node"), wanted) == (
        "without zone=a and without zone=b, a new node with 1 core, the oci runtime would take it",
    )


def test_a_request_for_nothing_is_taken_by_any_new_node() -> None:
    nothing = shape(quantities={"cpu_cores": 0})
    assert advice(PlacingCluster(), nothing) == ("a new node would take it",)
    assert cluster("n1").place(asked(nothing)) == "n1"


def test_a_topology_key_that_half_the_nodes_lack() -> None:
    nodes = zones(n1="a", n2="a", n3="", n4="")
    for node in ("n1", "n2"):
        nodes.holds(node, shape("db", 4))
    wanted = shape("web", 2, spread=(TopologySpread("zone"),))
    assert summary(nodes, wanted) == (
        "none of 4 nodes fits:"
        " 2 are ruled out by topology spread: zone, at most 1 apart (n3, n4);"
        " 2 lack 2 cores (most free: 0 cores on n1)"
    )
    assert advice(nodes, wanted) == (
        "without topology spread over zone, at most 1 apart, 2 nodes would fit",
        "without cpu_cores, 2 nodes would fit",
    )


def test_larger_than_any_node_is_still_told_by_how_much() -> None:
    nodes = cluster("n1")
    assert isinstance(nodes.decide(asked(shape("web", 3)))[0], AssignNode)
    assert advice(nodes, shape("web", 10_000)) == ("with 9996 cores less, it would fit n1",)
