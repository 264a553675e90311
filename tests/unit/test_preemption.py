"""Who gives way, and who does not, when a more important request fits nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.model.placement import Affinity, NodeSelector, PriorityClass, Taint
from orchestrator.model.workload import GpuNeed, WorkloadKey
from orchestrator.scheduler.ladders import Ladders
from orchestrator.scheduler.preemption import MAX_VICTIMS
from orchestrator.scheduler.protocol import (
    AssignNode,
    NoPlacement,
    ScheduleDecision,
    Shape,
    Victim,
)
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.placing import PlacingCluster, asked, cluster, shape

BACKGROUND, LOW, HIGH = PriorityClass.BACKGROUND, PriorityClass.LOW, PriorityClass.HIGH
Budget = Callable[[WorkloadKey], int | None]


def low(name: str = "low", cpu: float = 1, **changes: Any) -> Shape:
    return shape(name, cpu, **{"priority": LOW, **changes})


def high(cpu: float = 1, **changes: Any) -> Shape:
    return shape("high", cpu, priority=HIGH, **changes)


def decided(
    nodes: PlacingCluster, *wanted: Shape, budget: Budget | None = None, **changes: Any
) -> list[ScheduleDecision]:
    """For one of each shape."""
    snapshot = nodes.snapshot()
    if budget is not None:
        snapshot.budget = budget
    requests = [each for at, one in enumerate(wanted) for each in asked(one, first=at, **changes)]
    return VectorScheduler().schedule(requests, snapshot)


def outcome(decision: ScheduleDecision) -> str:
    """`n1 < low low`: on n1, in place of two of that workload; `-` if nowhere."""
    if not isinstance(decision, AssignNode):
        return "-"
    victims = [each.instance.workload for each in decision.victims]
    return " ".join([decision.node, *(["<", *victims] if victims else [])])


def outcomes(nodes: PlacingCluster, *wanted: Shape, **changes: Any) -> list[str]:
    return [outcome(each) for each in decided(nodes, *wanted, **changes)]


def test_a_lower_one_gives_way_and_everybody_is_told_why() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=4))
    (made,) = decided(nodes, high())
    assert made == AssignNode(
        "n1",
        "none of 1 nodes has room; the fewest and lowest give way to it: default.low.1000.1",
        (),
        (
            Victim(
                nodes.claims["n1"][0].instance,
                "gives way to default.high.0.1, whose priority is high, not low",
            ),
        ),
    )


def test_nobody_gives_way_where_there_is_room() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", low(cpu=4))
    assert outcomes(nodes, high()) == ["n2"]


def test_nobody_gives_way_to_his_like() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", shape("equal", 4, priority=HIGH))
    nodes.holds("n2", shape("higher", 4, priority=PriorityClass.CRITICAL))
    assert outcomes(nodes, high()) == ["-"]


def test_the_lowest_class_displaces_nobody() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=4))
    assert outcomes(nodes, shape("web", 1, priority=BACKGROUND)) == ["-"]


def test_who_may_not_displace_waits() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=4))
    (made,) = decided(nodes, high(2), may_displace=False)
    assert isinstance(made, NoPlacement)
    assert made.reason.startswith("none of 1 node fits: 1 lacks 2 cores")


# Who is chosen: the lowest, then the fewest, then the best node


def test_two_of_the_lowest_go_rather_than_one_of_the_next() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", low(cpu=4))
    nodes.holds("n2", shape("bg", 2, priority=BACKGROUND), 2)
    assert outcomes(nodes, high(4)) == ["n2 < bg bg"]


def test_of_the_equally_low_the_fewest_go() -> None:
    nodes = cluster("n1", "n2", "n3")
    nodes.holds("n1", low(cpu=1), 4)
    nodes.holds("n2", low(cpu=2), 2)
    nodes.holds("n3", low(cpu=1.3), 3)
    assert outcomes(nodes, high(4)) == ["n2 < low low"]


def test_of_the_equally_few_those_on_the_best_node_go() -> None:
    nodes = cluster("n1", "n2")
    for node in ("n1", "n2"):
        nodes.holds(node, low(cpu=3))
    nodes.holds("n1", shape("high", 1, priority=HIGH))
    nodes.holds("n2", shape("other", 1, priority=HIGH))
    assert outcomes(nodes, high(2)) == ["n2 < low"]


def test_a_worse_node_is_preferred_if_fewer_go_there() -> None:
    nodes = cluster("n1", "n2", cpu=5)
    nodes.holds("n1", low(cpu=2), 2)
    nodes.holds("n2", low(cpu=4))
    nodes.holds("n2", shape("other", 1, priority=HIGH))
    assert outcomes(nodes, high(4)) == ["n2 < low"]


def test_on_one_node_the_lowest_of_the_fewest_go() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low("c", 2))
    nodes.holds("n1", low("b", 1))
    nodes.holds("n1", shape("a", 1, priority=BACKGROUND))
    assert outcomes(nodes, high(1)) == ["n1 < a"]
    assert outcomes(nodes, high(3)) == ["n1 < a c"]


def test_nobody_goes_in_vain() -> None:
    """Not even from where nothing else would do it."""
    nodes = PlacingCluster()
    nodes.node("n1", 4)
    nodes.holds("n1", low(cpu=1), 2)
    nodes.holds("n1", shape("fixed", 2, priority=HIGH))
    assert outcomes(nodes, high(3)) == ["-"]
    assert outcomes(nodes, high(1, quantities={"cpu_cores": 1000, "fpga": 1})) == ["-"]


def test_no_more_give_way_to_one_than_one_transaction_holds() -> None:
    nodes = cluster("n1", cpu=26)
    nodes.holds("n1", low(cpu=1), 26)
    assert outcomes(nodes, high(25)) == ["n1 < " + " ".join(["low"] * 25)]
    assert outcomes(nodes, high(26)) == ["-"]


def test_a_request_for_nothing_is_no_shortage() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=4))
    nothing_of = {"cpu_cores": 1000, "fpga": 0}
    assert outcomes(nodes, high(quantities=nothing_of)) == ["n1 < low"]


# Budgets


def test_budgets_are_honoured() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=1), 4)
    assert outcomes(nodes, high(2), budget=lambda _: 1) == ["-"]
    assert outcomes(nodes, high(2), budget=lambda _: 2) == ["n1 < low low"]


def test_where_budgets_are_used_up_nodes_are_passed_over_unseen() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", low("a"), 4)
    nodes.holds("n2", low("a"), 2)
    nodes.holds("n2", low("b"), 2)
    snapshot = nodes.snapshot()
    snapshot.budget = {WorkloadKey("default", "a"): 1}.get
    fewest = Ladders(snapshot).fewest(snapshot, high(2), LOW.rank)
    assert fewest.tolist() == [MAX_VICTIMS + 1, 2]


def test_who_has_no_budget_left_is_passed_over_for_others() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", shape("a", 2, priority=BACKGROUND))
    nodes.holds("n1", low("b", 1), 2)
    budget = {WorkloadKey("default", "a"): 0}.get
    assert outcomes(nodes, high(2), budget=budget) == ["n1 < b b"]


def test_several_requests_share_a_budget() -> None:
    nodes = cluster("n1", "n2", "n3")
    for node in ("n1", "n2", "n3"):
        nodes.holds(node, low(cpu=4))
    made = outcomes(nodes, *[high(4)] * 3, budget=lambda _: 2)
    assert made == ["n1 < low", "n2 < low", "-"]


# Room that is coming free


def test_nobody_goes_where_room_is_coming_free_anyway() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", low(cpu=4))
    nodes.holds("n2", shape("old", 4), is_leaving=True)
    assert outcomes(nodes, high(4)) == ["-"]


def test_who_leaves_counts_among_the_room_that_must_be_made() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low(cpu=2))
    nodes.holds("n1", shape("old", 2), is_leaving=True)
    (made,) = decided(nodes, high(4))
    assert outcome(made) == "n1 < low"
    assert isinstance(made, AssignNode)
    assert made.leaving == (nodes.claims["n1"][1].instance,)


def test_room_that_comes_free_on_a_closed_node_helps_nobody() -> None:
    nodes = cluster("n1")
    nodes.node("n2", 4, refusal="is cordoned")
    nodes.holds("n1", low(cpu=4))
    nodes.holds("n2", shape("old", 4), is_leaving=True)
    assert outcomes(nodes, high(4)) == ["n1 < low"]


# Several requests in one call


def test_the_same_one_gives_way_once_and_what_he_leaves_over_is_waited_for() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", low(cpu=4))
    nodes.holds("n2", shape("normal", 4))
    made = outcomes(nodes, high(3), shape("other", 1, priority=HIGH))
    assert made == ["n1 < low", "-"]


def test_what_is_left_over_counts_for_the_next_one() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low("a", 2.5))
    nodes.holds("n1", low("b", 1.5))
    made = outcomes(nodes, high(2.5), shape("zoo", 1.5, priority=HIGH))
    assert made == ["n1 < a", "n1 < b"]
    made = outcomes(nodes, high(2), shape("zoo", 2, priority=HIGH))
    assert made == ["n1 < a", "n1 < b"]


def test_after_a_higher_one_who_left_more_than_he_needed() -> None:
    """What a class above has displaced is room also for those who could not have displaced it."""
    nodes = cluster("n1")
    nodes.holds("n1", shape("normal", 3))
    nodes.holds("n1", shape("bg", 1, priority=BACKGROUND))
    made = outcomes(nodes, high(2), shape("zoo", 2, priority=LOW))
    assert made == ["n1 < normal", "n1 < bg"]


def test_decisions_do_not_depend_on_the_order_of_requests() -> None:
    nodes = cluster("n1", "n2")
    for node in ("n1", "n2"):
        nodes.holds(node, low(cpu=2), 2)
    wanted = [*asked(high(4)), *asked(shape("mid", 2), 2)]
    snapshot = nodes.snapshot()
    forward = VectorScheduler().schedule(wanted, snapshot)
    backward = VectorScheduler().schedule(wanted[::-1], snapshot)
    assert [outcome(each) for each in forward] == ["n1 < low low", "n2 < low", "n2 < low"]
    assert forward == backward[::-1]


# Ports, devices, constraints


def test_a_host_port_is_made_free() -> None:
    nodes = cluster("n1")
    https = frozenset({("tcp", 443)})
    nodes.holds("n1", low("idle"))
    nodes.holds("n1", low("proxy", host_ports=https))
    assert outcomes(nodes, high(host_ports=https)) == ["n1 < proxy"]


def test_devices_are_made_free_and_given_to_the_newcomer() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", gpus=("A100", "T4", "A100"))
    for device in (0, 1, 2):
        nodes.holds("n1", low(f"train{device}", gpu=GpuNeed(1000, 1)), gpus=(device,))
    made = decided(nodes, high(gpu=GpuNeed(1000, 1, ("T4",))))
    assert [outcome(each) for each in made] == ["n1 < train1"]
    assert isinstance(made[0], AssignNode)
    assert made[0].gpus == (1,)


def test_a_share_of_a_device_is_made_free_where_it_takes_the_fewest() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", gpus=("", ""))
    nodes.holds("n1", low("a", 0.1, gpu=GpuNeed(400, 1)), 2, gpus=(0,))
    nodes.holds("n1", low("b", 0.1, gpu=GpuNeed(900, 1)), gpus=(1,))
    made = decided(nodes, high(gpu=GpuNeed(800, 1)))
    assert [outcome(each) for each in made] == ["n1 < b"]
    assert isinstance(made[0], AssignNode)
    assert made[0].gpus == (1,)


def test_rows_that_name_devices_that_are_not_there_hurt_nobody() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", gpus=("T4",))
    nodes.holds("n1", low("odd", gpu=GpuNeed(1000, 1)), gpus=(-1, 7))
    nodes.holds("n1", low("odder"), gpus=(0,))
    nodes.holds("n1", low("train", gpu=GpuNeed(1000, 1)), gpus=(0,))
    assert outcomes(nodes, high(gpu=GpuNeed(1000, 1))) == ["n1 < train"]


def test_only_room_is_made_and_no_constraint_given_up() -> None:
    nodes = PlacingCluster()
    nodes.node("n1", taints=(Taint("gpu"),))
    nodes.node("n2", zone="b")
    for node in ("n1", "n2"):
        nodes.holds(node, low(cpu=4))
    in_a = NodeSelector("zone", values=("a",))
    assert outcomes(nodes, high(nodes=(in_a,))) == ["-"]
    assert outcomes(nodes, high()) == ["n2 < low"]


def test_nobody_is_displaced_for_whose_company_it_asks() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", low("db", 2))
    nodes.holds("n1", low("other", 2))
    assert outcomes(nodes, high(2, affinity=(Affinity("db"),))) == ["n1 < other"]
    assert outcomes(nodes, high(4, affinity=(Affinity("db"),))) == ["-"]
    assert outcomes(nodes, high(2, affinity=(Affinity("db", weight=5),))) == ["n1 < db"]


# Many on one node


def lopsided_node(count: int) -> PlacingCluster:
    """Who has much of one thing has little of the other: no bound tells how many must go."""
    nodes = PlacingCluster()
    amounts = [(at, count - at) for at in range(count)]
    has = {"cpu_cores": sum(cpu for cpu, _ in amounts), "fpga": sum(rest for _, rest in amounts)}
    nodes.node("n1", allocatable=has)
    for at, (cpu, rest) in enumerate(amounts):
        nodes.holds("n1", low(f"w{at:02d}", quantities={"cpu_cores": cpu, "fpga": rest}))
    return nodes


def test_where_there_are_too_many_sets_to_compare_still_nobody_goes_in_vain() -> None:
    nodes = lopsided_node(20)
    half = {name: amount * 3 // 5 for name, amount in nodes.nodes[0].allocatable.items()}
    (made,) = decided(nodes, high(quantities=half))
    assert isinstance(made, AssignNode)
    gone = {victim.instance for victim in made.victims}
    held = {claim.instance: claim.shape.quantities for claim in nodes.claims["n1"]}
    for name, wanted in half.items():
        assert sum(held[each][name] for each in gone) >= wanted
    for spared in gone:
        rest = gone - {spared}
        assert any(sum(held[each][name] for each in rest) < half[name] for name in half), spared


def test_where_there_are_too_many_sets_budgets_hold_all_the_same() -> None:
    nodes = lopsided_node(20)
    most = {name: amount * 4 // 5 for name, amount in nodes.nodes[0].allocatable.items()}
    spared = {WorkloadKey("default", f"w{at:02d}"): 0 for at in range(10)}
    assert outcomes(nodes, high(quantities=most), budget=spared.get) == ["-"]
