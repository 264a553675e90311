"""Together, apart, evenly: affinity, anti-affinity and topology spread."""

from __future__ import annotations

import pytest

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    Requirement,
    TopologySpread,
    Unsatisfiable,
)
from orchestrator.scheduler.feasibility import Filter, stages
from tests.support.placing import PlacingCluster, asked, cluster, shape, zones

NEAR_DB = Affinity("db", topology_key="zone")
BY_ZONE = TopologySpread("zone")
GENTLY_BY_ZONE = TopologySpread("zone", when_unsatisfiable=Unsatisfiable.SCHEDULE_ANYWAY)


def near_itself(topology_key: str = "zone", weight: int | None = None) -> Affinity:
    return Affinity("web", topology_key=topology_key, weight=weight)


# Affinity


def test_affinity_goes_where_the_others_are_on_any_node_of_the_domain() -> None:
    made = zones(n1="a", n2="b", n3="b")
    made.holds("n3", shape("db"))
    assert made.place(asked(shape(affinity=(NEAR_DB,)), 4)) == "n2 n3 n2 n3"


def test_without_the_others_affinity_finds_no_place() -> None:
    assert zones(n1="a").place(asked(shape(affinity=(NEAR_DB,)))) == "-"


def test_a_node_without_the_label_is_in_no_domain() -> None:
    made = zones(n1="", n2="b")
    made.holds("n1", shape("db"))
    assert made.place(asked(shape(affinity=(NEAR_DB,)))) == "-"


def test_the_first_of_those_that_want_to_be_together_chooses_the_domain() -> None:
    made = zones(n1="", n2="b", n3="c", n4="b")
    assert made.place(asked(shape(affinity=(near_itself(),)), 4)) == "n2 n4 n2 n4"


def test_those_on_nodes_without_the_label_are_company_to_nobody() -> None:
    made = zones(n1="", n2="b")
    made.holds("n1", shape())
    assert made.place(asked(shape(affinity=(near_itself(),)), 2)) == "n2 n2"


def test_whom_affinity_means_is_told_by_labels_and_expressions_within_the_namespace() -> None:
    made = zones(n1="a", n2="b", n3="c", n4="d")
    made.holds("n1", shape("api", labels={"app": "api"}))
    made.holds("n2", shape("api", namespace="other", labels={"app": "api", "level": "7"}))
    made.holds("n3", shape("job", labels={"app": "api", "level": "7"}))
    made.holds("n4", shape("job2", labels={"app": "job", "level": "7"}))
    term = Affinity(
        labels={"app": "api"},
        expressions=(Requirement("level", Operator.GT, ("5",)),),
        topology_key="zone",
    )
    assert made.place(asked(shape(affinity=(term,)))) == "n3"


def test_soft_affinity_prefers_the_domain_and_makes_do_without() -> None:
    made = zones(n1="a", n2="b", n3="")
    made.holds("n2", shape("db"))
    wanted = shape("web", 1.5, affinity=(Affinity("db", topology_key="zone", weight=1),))
    assert made.place(asked(wanted, 4)) == "n2 n2 n1 n3"


def test_soft_affinity_to_itself_gathers_a_batch() -> None:
    made = zones(n1="a", n2="b", n3="b")
    made.holds("n1", shape("db"))
    assert made.place(asked(shape(affinity=(near_itself(weight=1),)), 4)) == "n2 n3 n2 n3"


# Anti-affinity


def test_anti_affinity_to_itself_places_one_in_each_domain() -> None:
    wanted = shape(anti_affinity=(near_itself("zone"),))
    assert zones(n1="a", n2="a", n3="b").place(asked(wanted, 3)) == "n1 n3 -"


def test_anti_affinity_by_node_places_one_on_each() -> None:
    wanted = shape(anti_affinity=(near_itself("node"),))
    assert cluster("n1", "n2", "n3").place(asked(wanted, 4)) == "n1 n2 n3 -"


def test_anti_affinity_says_nothing_of_nodes_without_the_label() -> None:
    wanted = shape(anti_affinity=(near_itself("zone"),))
    assert zones(n1="a", n2="").place(asked(wanted, 4)) == "n1 n2 n2 n2"


def test_anti_affinity_is_mutual() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n1", shape("loner", anti_affinity=(Affinity("web", topology_key="zone"),)))
    assert made.place(asked(shape(), 2)) == "n2 n2"
    assert made.place(asked(shape("api"))) == "n2"
    assert made.place(asked(shape("web", namespace="other"))) == "n2"


def test_what_keeps_away_from_another_namespace_is_never_meant() -> None:
    made = cluster("n1")
    made.holds("n1", shape("loner", anti_affinity=(Affinity("web"),)))
    assert made.place(asked(shape("web", namespace="other"))) == "n1"


def test_what_an_older_generation_keeps_away_from_counts_as_well() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n1", shape(anti_affinity=(near_itself("zone"),)))
    assert made.place(asked(shape(), 2)) == "n2 n2"


def test_soft_anti_affinity_avoids_the_domain_while_it_can() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n1", shape("db"))
    away = Affinity("db", topology_key="zone", weight=1)
    assert made.place(asked(shape("web", 2, anti_affinity=(away,)), 4)) == "n2 n2 n1 -"


def test_soft_anti_affinity_is_mutual_and_weighs_once_for_each_workload() -> None:
    made = cluster("n1", "n2")
    away = Affinity("web", weight=10)
    made.holds("n1", shape("a", 0, anti_affinity=(away,)), 3)
    made.holds("n2", shape("a", 0, anti_affinity=(away,)))
    made.holds("n2", shape("b", 0, anti_affinity=(away,)))
    assert made.place(asked(shape())) == "n1"


def test_soft_anti_affinity_that_both_hold_counts_once() -> None:
    made = cluster("n1", "n2")
    away = near_itself("node", weight=10)
    here = NodeSelector("node", values=("n1",), weight=15)
    made.holds("n1", shape(anti_affinity=(away,)))
    assert made.place(asked(shape(anti_affinity=(away,), nodes=(here,)))) == "n1"


# Topology spread


def test_spread_is_even_over_the_domains_however_many_nodes_they_have() -> None:
    made = zones(n1="a", n2="b", n3="b", n4="b")
    assert made.place(asked(shape(spread=(BY_ZONE,)), 6)) == "n1 n2 n3 n1 n4 n1"


def test_spread_stops_where_the_emptiest_domain_is_full() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n1", shape("db", 3))
    assert made.place(asked(shape(spread=(BY_ZONE,)), 4)) == "n2 n1 n2 -"


def test_spread_refuses_nodes_without_the_label() -> None:
    made = zones(n1="", n2="b")
    assert made.place(asked(shape("web", 2, spread=(BY_ZONE,)), 3)) == "n2 n2 -"


def test_spread_waits_for_as_many_domains_as_it_wants() -> None:
    wanted = shape(spread=(TopologySpread("zone", max_skew=2, min_domains=3),))
    assert zones(n1="a", n2="b").place(asked(wanted, 5)) == "n1 n2 n1 n2 -"
    assert zones(n1="a", n2="b", n3="c").place(asked(wanted, 4)) == "n1 n2 n3 n1"


def test_domains_that_could_never_take_it_do_not_count() -> None:
    made = zones(n1="a", n2="b")
    made.node("n3", zone="c", refusal="is cordoned")
    assert made.place(asked(shape(spread=(BY_ZONE,)), 4)) == "n1 n2 n1 n2"


def test_domains_that_are_only_full_do_count() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n2", shape("db", 4))
    assert made.place(asked(shape(spread=(BY_ZONE,)), 2)) == "n1 -"


def test_soft_spread_prefers_the_emptier_domain_and_goes_on_where_there_is_room() -> None:
    made = zones(n1="a", n2="b", n3="b")
    made.holds("n1", shape(), 2)
    assert made.place(asked(shape("web", 2, spread=(GENTLY_BY_ZONE,)), 6)) == "n2 n3 n2 n1 n3 -"


def test_many_rules_at_once() -> None:
    wanted = shape(spread=(BY_ZONE,), anti_affinity=(near_itself("rack"),))
    made = PlacingCluster()
    for number in range(6):
        made.node(f"n{number}", zone=f"z{number % 2}", rack=f"r{number // 2}")
    assert made.place(asked(wanted, 4)) == "n0 n3 n4 -"


@pytest.mark.parametrize("constraint", ["affinity", "anti_affinity", "spread"])
def test_a_topology_key_that_nobody_has(constraint: str) -> None:
    term = TopologySpread("nowhere") if constraint == "spread" else near_itself("nowhere")
    expected = "n1 n1" if constraint == "anti_affinity" else "- -"
    assert cluster("n1").place(asked(shape(**{constraint: (term,)}), 2)) == expected


def test_only_hard_rules_are_filters_and_each_says_what_it_is() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n1", shape("loner", anti_affinity=(near_itself("zone"),)))
    wanted = shape(affinity=(NEAR_DB,), spread=(BY_ZONE, GENTLY_BY_ZONE))
    asked_for = [
        (getattr(stage.subject, "text", ""), stage.passes.tolist())
        for stage in stages(made.snapshot(), wanted)
        if stage.filter is Filter.DOMAIN
    ]
    assert asked_for == [
        ("workload db (by zone)", [False, False]),
        ("loner keeps away from workload web (by zone)", [False, True]),
        ("zone, at most 1 apart", [True, True]),
    ]


def test_where_each_node_is_a_domain_those_with_equally_many_come_in_their_turn() -> None:
    """There are more of them than instances: that most need not be looked at must not show."""
    made = PlacingCluster()
    for number in range(8):
        made.node(f"n{number}", zone="ab"[number // 4])
    made.holds("n0", shape(), 2)
    made.holds("n1", shape("db", 2))
    by_node = TopologySpread("node", max_skew=3)
    assert made.place(asked(shape(spread=(by_node,)), 3)) == "n2 n3 n4"
    assert made.place(asked(shape(spread=(by_node, BY_ZONE)), 3)) == "n4 n5 n2"
