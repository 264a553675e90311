"""What people are told when nothing fits: who refuses it, and by how much."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.model.explanation import Explanation, NodeAnswer
from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Taint,
    TopologySpread,
)
from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.explain import explain, why_not
from orchestrator.scheduler.facts import Mask
from orchestrator.scheduler.protocol import NoPlacement, Shape
from orchestrator.scheduler.snapshot import Snapshot
from tests.support.placing import PlacingCluster, asked, cluster, shape, zones

GPU_ONLY = Taint("gpu", "yes")
IN_A = NodeSelector("zone", values=("a",))


def told(nodes: PlacingCluster, wanted: Shape) -> Explanation:
    return explain(nodes.snapshot(), wanted)


def answers(nodes: PlacingCluster, wanted: Shape) -> dict[str, tuple[str, ...]]:
    return {answer.node: answer.refusals for answer in told(nodes, wanted).nodes}


# Who refuses it


def test_what_fits_somewhere_is_said_to() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", shape("db", 4))
    assert told(nodes, shape("web", 2)) == Explanation(
        "1 of 2 nodes fit",
        (),
        (NodeAnswer("n1", ("lacks 2 cores (free: 0 cores)",)), NodeAnswer("n2", ())),
    )


def test_nodes_are_grouped_by_what_refuses_it_first_and_a_few_are_named() -> None:
    nodes = PlacingCluster()
    for name in ("n1", "n2", "n3", "n4"):
        nodes.node(name, 2)
    nodes.node("n5", 3)
    nodes.node("n6", 9, refusal="is cordoned")
    nodes.node("n7", 9, refusal="cannot be reached")
    nodes.node("n8", 9, taints=(GPU_ONLY,))
    nodes.node("n9", 1, taints=(GPU_ONLY,))
    assert told(nodes, shape("web", 4)).summary == (
        "none of 9 nodes fits: 5 lack 4 cores (most free: 3 cores on n5);"
        " 2 are tainted gpu=yes:NoSchedule (n8, n9); 1 cannot be reached (n7);"
        " 1 is cordoned (n6)"
    )


def test_a_large_group_is_only_counted() -> None:
    nodes = zones(n1="b", n2="b", n3="b", n4="")
    summary = told(nodes, shape(nodes=(IN_A,))).summary
    assert summary == "none of 4 nodes fits: 4 do not meet zone=a"


def test_of_many_reasons_the_largest_are_told_and_the_rest_is_counted() -> None:
    nodes = PlacingCluster()
    for number in range(8):
        nodes.node(f"n{number}", taints=(Taint(f"t{number}"),))
    nodes.node("n8", taints=(Taint("t0"),))
    summary = told(nodes, shape()).summary
    assert summary.startswith("none of 9 nodes fits: 2 are tainted t0:NoSchedule (n0, n8); 1 is")
    assert summary.endswith("1 is tainted t4:NoSchedule (n4); 3 have 3 other reasons")


def test_one_node_and_none_at_all() -> None:
    assert told(cluster("n1"), shape("web", 5)).summary == (
        "none of 1 node fits: 1 lacks 5 cores (most free: 4 cores on n1)"
    )
    assert told(PlacingCluster(), shape("web", 2)) == Explanation(
        "there is no node yet", ("a new node with 2 cores would take it",), ()
    )


def test_every_node_tells_all_that_it_lacks() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 4, zone="b", gpus=("T4", "T4"))
    nodes.holds("n1", shape("db", 3.5))
    wanted = shape(
        "web",
        1,
        nodes=(IN_A,),
        gpu=GpuNeed(1000, 3, ("T4", "A100")),
        runtime="oci",
        quantities={"cpu_cores": 1000, "fpga": 2000},
    )
    assert answers(nodes, wanted)["n1"] == (
        "has no oci runtime",
        "does not meet zone=a",
        "lacks free GPUs (wanted: 3 with 1 free, there: 2; free: 1 gpu, 1 gpu)",
        "lacks 0.5 cores (free: 0.5 cores)",
        "lacks 2 fpga (free: 0 fpga)",
    )


def test_where_there_are_no_gpus_at_all() -> None:
    assert answers(cluster("n1"), shape(gpu=GpuNeed(460, 1)))["n1"] == (
        "lacks free GPUs (wanted: 1 with 0.46 free, there: 0; free: none)",
    )


def test_constraints_over_domains_are_told_by_name() -> None:
    nodes = zones(n1="a", n2="b", n3="")
    nodes.holds("n1", shape("web", anti_affinity=(Affinity("db", topology_key="zone"),)))
    nodes.holds("n1", shape("db"))
    spread = (TopologySpread("zone"),)
    lonely = (Affinity("web", topology_key="zone"),)
    assert answers(nodes, shape("db", spread=spread, anti_affinity=lonely)) == {
        "n1": (
            "is ruled out by anti-affinity: workload web (by zone)",
            "is ruled out by anti-affinity: web keeps away from workload db (by zone)",
            "is ruled out by topology spread: zone, at most 1 apart",
        ),
        "n2": (),
        "n3": ("is ruled out by topology spread: zone, at most 1 apart",),
    }
    close = (Affinity("cache", topology_key="zone"),)
    assert told(nodes, shape("api", affinity=close)).summary == (
        "none of 3 nodes fits:"
        " 3 are not where affinity wants it: workload cache (by zone) (n1, n2, n3)"
    )


def test_ports_and_plugins_are_told_by_name() -> None:
    class Never:
        name = "never"

        def passes(self, snapshot: Snapshot, _shape: Shape) -> Mask:
            return np.zeros(len(snapshot.facts), dtype=np.bool_)

    nodes = cluster("n1", "n2")
    https = frozenset({("tcp", 443)})
    nodes.holds("n1", shape("proxy", host_ports=https))
    answer = explain(nodes.snapshot(), shape(host_ports=https), (Never(),))
    assert [each.refusals for each in answer.nodes] == [
        ("is refused by the plug-in never", "has host port 443/tcp taken"),
        ("is refused by the plug-in never",),
    ]
    assert answer.suggestions == ()


def test_the_short_answer_has_the_summary_and_the_two_nearest_changes() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", 2, zone="a")
    nodes.node("n2", 9, zone="b")
    nodes.node("n3", 9, zone="a", taints=(GPU_ONLY,))
    assert why_not(nodes.snapshot(), shape("web", 4, nodes=(IN_A,))) == (
        "none of 3 nodes fits: 1 does not meet zone=a (n2); 1 is tainted gpu=yes:NoSchedule (n3);"
        " 1 lacks 4 cores (most free: 2 cores on n1);"
        " without zone=a, it would fit n2; tolerating gpu=yes:NoSchedule, it would fit n3"
    )


def test_the_scheduler_gives_the_short_answer() -> None:
    nodes = cluster("n1")
    wanted = shape("web", 5)
    assert nodes.decide(asked(wanted)) == [NoPlacement(why_not(nodes.snapshot(), wanted))]


# Absurd requests


@pytest.mark.parametrize(
    ("milli", "problem"),
    [
        (-1, "asks for a negative amount of cpu_cores"),
        (10**30, "asks for more cpu_cores than any node can have"),
    ],
)
def test_what_no_node_could_ever_take_is_refused_as_such(milli: int, problem: str) -> None:
    absurd = shape(quantities={"cpu_cores": milli})
    assert told(cluster("n1"), absurd) == Explanation(problem, (), (NodeAnswer("n1", (problem,)),))
