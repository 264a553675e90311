"""What only some nodes allow, and data that hold an instance to one node: who takes it then, and
what is said when nobody does."""

from __future__ import annotations

from typing import Any

from orchestrator.model.placement import PriorityClass, Taint, TopologySpread
from orchestrator.scheduler.explain import explain, why_not
from orchestrator.scheduler.protocol import NoPlacement, Pin, ScheduleRequest, Shape
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.placing import PlacingCluster, asked, cluster, shape, zones

DATA = "default.db.0.data"


def allowing(**nodes: tuple[str, ...]) -> PlacingCluster:
    """Nodes that allow these paths."""
    made = PlacingCluster()
    for name, paths in nodes.items():
        made.node(name, allowed_binds=paths)
    return made


def pinned(*nodes: str, **changes: Any) -> Shape:
    """Of one slot that has data there."""
    return shape("db", pins=tuple(Pin(DATA, node) for node in nodes), **changes)


def why(made: PlacingCluster, wanted: Shape) -> str:
    return why_not(made.snapshot(), wanted)


# What nodes allow


def test_what_is_privileged_goes_where_that_is_allowed() -> None:
    made = cluster("n1", "n3")
    made.node("n2", allows_privileged=True)
    assert made.place(asked(shape(is_privileged=True), 2)) == "n2 n2"
    assert cluster("n1", "n2").decide(asked(shape(is_privileged=True))) == [
        NoPlacement(
            "none of 2 nodes fits: 2 do not allow privileged containers (n1, n2);"
            " without privileged containers, 2 nodes would fit"
        )
    ]


def test_a_path_of_the_node_is_given_where_it_or_one_above_it_is_allowed() -> None:
    made = allowing(
        n1=("/srv/dat", "/srv/data/web/old"), n2=("/srv/data",), n3=("/srv/data/web",), n4=("/",)
    )
    wanted = shape(host_paths=frozenset({"/srv/data/web"}))
    assert made.place(asked(wanted, 4)) == "n2 n3 n4 n2"
    both = shape(host_paths=frozenset({"/srv/data/web", "/dev/fuse"}))
    assert made.place(asked(both, 2)) == "n4 n4"


def test_who_does_not_allow_a_path_says_which() -> None:
    made = allowing(n1=("/srv",), n2=())
    wanted = shape(host_paths=frozenset({"/srv/data", "/dev/fuse"}))
    answers = {each.node: each.refusals for each in explain(made.snapshot(), wanted).nodes}
    assert answers == {
        "n1": ("does not allow the path /dev/fuse",),
        "n2": ("does not allow the path /dev/fuse", "does not allow the path /srv/data"),
    }
    assert why(made, wanted).endswith("; without the node's /dev/fuse, it would fit n1")


def test_a_new_node_would_have_to_allow_it() -> None:
    made = PlacingCluster()
    made.node("n1", runtimes=frozenset({"process"}))
    wanted = shape(runtime="oci", is_privileged=True, host_paths=frozenset({"/srv", "/dev/fuse"}))
    (suggestion,) = explain(made.snapshot(), wanted).suggestions
    assert suggestion == (
        "a new node with 1 core, the oci runtime, leave to use /dev/fuse, leave to use /srv, leave"
        " to run privileged containers would take it"
    )


def test_the_spread_counts_no_domain_where_it_is_not_allowed() -> None:
    made = zones(n1="a", n2="b")
    made.node("n3", zone="c", allows_privileged=True)
    spread = (TopologySpread("zone"),)
    assert made.place(asked(shape(spread=spread, is_privileged=True), 3)) == "n3 n3 n3"


# Data


def test_an_instance_goes_where_its_data_are_however_full_that_is() -> None:
    made = cluster("n1", "n2", "n3")
    made.holds("n2", shape("other", 3))
    for scheduler in (VectorScheduler(), SimpleScheduler()):
        assert made.place(asked(pinned("n2")), scheduler) == "n2"


def test_its_preference_does_not_lead_it_away_from_its_data() -> None:
    made = cluster("n1", "n2")
    assert made.place(asked(pinned("n2"), prefer="n1", failed_on={"n2": 5})) == "n2"


def test_who_has_data_is_served_before_others_of_its_priority_who_could_go_elsewhere() -> None:
    made = cluster("n1", "n2")
    others = asked(shape("app", 4), 2)
    assert made.place([*others, *asked(pinned("n1"))]) == "n2 - n1"
    higher = asked(shape("app", 4, priority=PriorityClass.HIGH), 2)
    assert made.place([*higher, *asked(pinned("n1"))]) == "n1 n2 -"


def test_slots_of_one_workload_go_each_to_its_own_data() -> None:
    made = cluster("n1", "n2", "n3")
    base = shape("db", 4)
    slots = [base, pinned("n3"), base]
    requests = [asked(each, 1, at)[0] for at, each in enumerate(slots)]
    assert made.place(requests) == "n1 n3 n2"


def test_data_do_not_narrow_the_domains_of_a_spread() -> None:
    made = zones(n1="a", n2="b")
    made.holds("n2", shape("db"))
    spread = (TopologySpread("zone"),)
    assert made.place(asked(pinned("n2", spread=spread))) == "-"
    assert made.place(asked(pinned("n1", spread=spread))) == "n1"


def test_a_gang_goes_to_its_data_as_a_whole_or_not_at_all() -> None:
    made = cluster("n1", "n2", "n3")
    base = shape("db", 4, gang=True)
    held = shape("db", 4, gang=True, pins=(Pin(DATA, "n1"),))
    requests = [*asked(base, 2), *asked(held, 1, 2)]
    assert made.place(requests) == "n2 n3 n1"
    made.holds("n1", shape("other", 4))
    decisions = made.decide(requests)
    assert decisions == [decisions[0]] * 3
    assert isinstance(decisions[0], NoPlacement)
    assert decisions[0].reason.startswith(
        f"a gang is placed as a whole, and only 2 of 3 fit: its volume {DATA} is on n1, which lacks"
    )


def test_others_give_way_only_on_the_node_that_has_the_data() -> None:
    made = cluster("n1", "n2")
    for node in ("n1", "n2"):
        made.holds(node, shape("low", 4, priority=PriorityClass.LOW))
    request = ScheduleRequest(asked(pinned("n2"))[0].instance, pinned("n2"))
    assert made.place([request]) == "n2"


def test_a_node_that_is_closed_is_waited_for() -> None:
    made = cluster("n1")
    made.node("n2", refusal="cannot be reached", taints=(Taint("a"),))
    assert why(made, pinned("n2")) == (
        f"its volume {DATA} is on n2, which cannot be reached and is tainted a:NoSchedule: bring n2"
        f" back into service, or give the data up with `orc volume rm {DATA}`, or `orc delete node"
        " n2` if that is gone for good"
    )


def test_a_node_that_is_full_is_waited_for() -> None:
    made = cluster("n1", "n2")
    made.holds("n2", shape("other", 4))
    two = shape("db", pins=(Pin("default.db.0.data", "n2"), Pin("default.db.0.log", "n2")))
    assert why(made, two) == (
        "its volumes default.db.0.data and default.db.0.log are on n2, which lacks 1 core (free: 0"
        " cores): it waits for n2, unless you give the data up with `orc volume rm"
        " default.db.0.data default.db.0.log`; without cpu_cores, it would fit n2"
    )


def test_data_on_several_nodes_leave_it_none() -> None:
    made = cluster("n1", "n2")
    assert made.decide(asked(pinned("n1", "n2"))) == [
        NoPlacement(
            f"its data are on several nodes: {DATA} on n1, {DATA} on n2; give up what is not needed"
            " with `orc volume rm NAME --node NODE`"
        )
    ]
    assert "which is not there: bring n9 back" in why(made, pinned("n9"))


def test_each_node_says_that_the_data_are_elsewhere() -> None:
    made = cluster("n1")
    made.node("n2", refusal="is cordoned")
    told = explain(made.snapshot(), pinned("n2"))
    assert [each.refusals for each in told.nodes] == [
        (f"does not have its volume {DATA}, which n2 has",),
        ("is cordoned",),
    ]
    assert told.suggestions == ("n2 would take it, but it is cordoned",)
