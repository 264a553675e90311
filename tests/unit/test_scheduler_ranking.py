"""Of the nodes that fit, which is best: what counts first, and what breaks the ties."""

from __future__ import annotations

import numpy as np

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    PriorityClass,
    Strategy,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpread,
)
from orchestrator.model.resources import NodeResources
from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.protocol import AssignNode, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.placing import PlacingCluster, asked, cluster, shape, zones

PACKING = VectorScheduler(Strategy.PACK)


def test_spread_prefers_nodes_without_this_workload_to_emptier_ones() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("web", 0))
    made.holds("n2", shape("db", 0.6), 5)
    assert made.place(asked(shape())) == "n2"


def test_spread_then_takes_the_least_loaded_in_what_is_asked_for() -> None:
    made = cluster("n1", "n2")
    made.holds("n1", shape("db", 2))
    made.holds("n2", shape("db", 1))
    made.holds("n2", shape("cache", quantities={"memory_mb": 900_000}))
    assert made.place(asked(shape())) == "n2"
    both = NodeResources(cpu_cores=1, memory_mb=10).quantities()
    assert made.place(asked(shape(quantities=both))) == "n1"


def test_spread_then_takes_the_node_that_holds_fewest_then_the_first_by_name() -> None:
    made = cluster("n3", "n2", "n1")
    made.holds("n1", shape("db", 0))
    assert made.place(asked(shape("web", 0), 4)) == "n2 n3 n1 n2"


def test_pack_fills_one_node_after_the_other() -> None:
    made = cluster("n1", "n2", "n3", cpu=3)
    made.holds("n2", shape("db"))
    assert made.place(asked(shape(), 6), PACKING) == "n2 n2 n1 n1 n1 n3"


def test_a_workload_may_have_another_strategy_than_its_cluster() -> None:
    packed = shape("job", strategy=Strategy.PACK)
    assert cluster("n1", "n2").place(asked(packed, 3)) == "n1 n1 n1"
    even = shape(strategy=Strategy.SPREAD)
    assert cluster("n1", "n2").place(asked(even, 2), PACKING) == "n1 n2"


def test_what_prefers_a_node_takes_it_while_it_fits_then_others() -> None:
    made = cluster("n1", "n2", "n3", cpu=2)
    made.holds("n3", shape("db"))
    at_home = asked(shape(), 3, prefer="n3", failed_on={"n3": 99})
    assert made.place(at_home) == "n3 n1 n2"


def test_a_preferred_node_that_is_gone_or_closed_by_a_rule_is_no_hindrance() -> None:
    wanted = shape(spread=(TopologySpread("zone"),))
    assert zones(n1="a", n2="b").place(asked(wanted, 3, prefer="n1")) == "n1 n2 n1"
    assert cluster("n1").place(asked(shape(), prefer="gone")) == "n1"


def test_nodes_where_it_has_failed_come_last_whatever_else_is_good_there() -> None:
    made = cluster("n1", "n2", "n3")
    made.holds("n3", shape(), 2)
    loved = (NodeSelector("node", values=("n1", "n2"), weight=100),)
    failures = {"n1": 2, "n2": 1, "gone": 9}
    assert made.place(asked(shape(nodes=loved), failed_on=failures)) == "n3"
    assert made.place(asked(shape(nodes=loved), failed_on={**failures, "n3": 3})) == "n2"


def test_more_than_seven_failures_are_seven() -> None:
    made = cluster("n1", "n2")
    assert made.place(asked(shape(), failed_on={"n1": 1000, "n2": 7})) == "n1"


def test_points_of_all_preferences_are_added_up() -> None:
    made = PlacingCluster()
    made.node("n1", disk="ssd", images=frozenset({"nginx:1", "envoy:2"}))
    made.node("n2", disk="ssd", zone="a")
    made.node("n3", zone="a")
    by_disk = NodeSelector("disk", Operator.EXISTS, weight=30)
    by_zone = NodeSelector("zone", Operator.EXISTS, weight=19)
    wanted = shape(nodes=(by_disk, by_zone), images=frozenset({"nginx:1", "envoy:2"}))
    assert made.place(asked(wanted)) == "n1"  # 30 + 2 * 10, against 49 and 19
    wanted = shape(nodes=(by_disk, by_zone), images=frozenset({"nginx:1"}))
    assert made.place(asked(wanted)) == "n2"


def test_a_taint_that_discourages_costs_fifty_points_unless_it_is_tolerated() -> None:
    made = cluster("n2")
    made.node("n1", taints=(Taint("old", effect=TaintEffect.PREFER_NO_SCHEDULE),))
    here = NodeSelector("node", values=("n1",), weight=49)
    tolerating = Toleration("old", TolerationOperator.EXISTS)
    assert made.place(asked(shape(nodes=(here,)))) == "n2"
    assert made.place(asked(shape(tolerations=(tolerating,)))) == "n1"


def test_preferences_come_before_an_even_spread() -> None:
    made = cluster("n1", "n2")
    here = NodeSelector("node", values=("n2",), weight=1)
    assert made.place(asked(shape(nodes=(here,)), 5)) == "n2 n2 n2 n2 n1"


class OddNodes:
    """A filter: only nodes with odd numbers."""

    name = "odd nodes"

    def passes(self, snapshot: Snapshot, _shape: Shape) -> Mask:
        return np.array([int(name[1:]) % 2 == 1 for name in snapshot.facts.names])


class HighNumbers:
    """A score: the higher a node's number, the better."""

    name = "high numbers"

    def points(self, snapshot: Snapshot, _shape: Shape) -> Column:
        return np.array([int(name[1:]) for name in snapshot.facts.names], dtype=np.int64)


def test_plug_ins_filter_and_score() -> None:
    scheduler = VectorScheduler(filters=(OddNodes(),), scores=(HighNumbers(),))
    assert cluster("n1", "n2", "n3", "n4").place(asked(shape("web", 3), 3), scheduler) == "n3 n1 -"


def test_the_urgent_are_served_first_then_the_first_by_name() -> None:
    made = cluster("n1", cpu=2)
    requests = [
        *asked(shape("b")),
        *asked(shape("c", priority=PriorityClass.HIGH)),
        *asked(shape("a")),
    ]
    assert made.place(requests) == "- n1 n1"


def test_one_that_fits_nowhere_holds_nobody_up() -> None:
    assert cluster("n1").place([*asked(shape("a", 99)), *asked(shape("b"))]) == "- n1"


def test_requests_that_differ_in_more_than_their_names_do_not_share_a_decision() -> None:
    wanted = shape()
    requests = [
        *asked(wanted, failed_on={"n1": 1}),
        *asked(wanted, first=1),
        *asked(wanted, first=2, prefer="n2"),
        *asked(shape(), first=3),
    ]
    assert cluster("n1", "n2").place(requests) == "n2 n1 n2 n1"


def test_a_decision_says_what_spoke_for_the_node() -> None:
    made = cluster("n1", "n2", "n3")
    made.holds("n3", shape())
    here = NodeSelector("node", values=("n3",), weight=7)
    decisions = made.decide(
        [
            *asked(shape("a", nodes=(here,), anti_affinity=(Affinity("db"),))),
            *asked(shape("b"), prefer="n2", failed_on={"n2": 7}),
            *asked(shape("c", strategy=Strategy.PACK)),
            *asked(shape("d", 2, nodes=(NodeSelector("node", values=("n1",)),))),
        ]
    )
    assert [each.reason for each in decisions if isinstance(each, AssignNode)] == [
        "of 3 nodes that fit, n3 is preferred most (+7 points) and has the fewest of it (0)",
        "of 3 nodes that fit, n2 is the one that is asked for",
        "of 3 nodes that fit, n3 is fullest (75 %)",
        "of 1 node that fits, n1 has the fewest of it (0)",
    ]


def test_a_batch_takes_the_best_of_many_nodes_and_of_equals_the_first() -> None:
    made = cluster("n1", "n2", "n3", "n4", "n5")
    made.holds("n1", shape("db", 2))
    made.holds("n3", shape("db"))
    assert made.place(asked(shape(), 2)) == "n2 n4"
    assert made.place(asked(shape(), 4)) == "n2 n4 n5 n3"


def test_a_batch_for_which_there_is_no_room_anywhere() -> None:
    spread = shape("web", 9, spread=(TopologySpread("zone"),))
    assert zones(n1="a", n2="b").place(asked(spread, 3)) == "- - -"


def standings(made: PlacingCluster, scheduler: VectorScheduler, **wishes: object) -> list[str]:
    """What `explain` says of each node that fits, the best first."""
    (request,) = asked(shape(nodes=wishes.pop("nodes", ())), 1, **wishes)  # type: ignore[arg-type]
    said = scheduler.explain(request, made.snapshot())
    return [f"{each.rank} {each.node}: {each.standing}" for each in said.nodes if each.rank]


def test_every_node_is_told_what_decides_its_turn() -> None:
    made = cluster("n1", "n2", "n3", cpu=4)
    made.holds("n1", shape())
    loved = (NodeSelector("node", values=("n1",), weight=7),)
    wishes = {"nodes": loved, "prefer": "n2", "failed_on": {"n2": 2, "n3": 1}}
    assert standings(made, VectorScheduler(), **wishes) == [
        "1 n2: it is asked for, 2 failures, +0 points, 0 of it, 25 % full, 0 instances",
        "2 n1: +7 points, 1 of it, 50 % full, 1 instances",
        "3 n3: 1 failures, +0 points, 0 of it, 25 % full, 0 instances",
    ]
    assert standings(made, PACKING) == ["1 n1: 50 % full", "2 n2: 25 % full", "3 n3: 25 % full"]
