"""Stories of those who give way: what the planner makes of a decision to displace."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.controller.writes import mutations_of, stories_of
from orchestrator.model.actions import Action, Forget, Place, Stop
from orchestrator.model.explanation import Explanation
from orchestrator.model.instance import InstanceName, Wanted
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import PriorityClass
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition, WorkloadKey
from orchestrator.planning.plan import plan
from orchestrator.scheduler.protocol import (
    AssignNode,
    ScheduleDecision,
    ScheduleRequest,
    Victim,
)
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from store.transactions import MAX_OPS
from tests.support.planned_cluster import PlannedCluster, Status

LOW, HIGH = PriorityClass.LOW, PriorityClass.HIGH


def sized(name: str, replicas: int, cpu: float, **changes: Any) -> WorkloadDefinition:
    container = ContainerConfig(
        "app", command=("serve",), resource_requests=NodeResources(cpu_cores=cpu)
    )
    return web(replicas, **{"name": name, "containers": (container,), **changes})


def full_of(*workloads: WorkloadDefinition, nodes: int = 1) -> PlannedCluster:
    """Nodes of four cores on which those run."""
    cluster = PlannedCluster(nodes)
    for spec in workloads:
        cluster.apply(spec)
        cluster.settle()
    return cluster


def key(name: str) -> WorkloadKey:
    return WorkloadKey("default", name)


def told(actions: Sequence[Action]) -> list[str]:
    return [f"{type(each).__name__} {each.place.instance}" for each in actions]


def names(cluster: PlannedCluster, name: str) -> list[str]:
    places = [each.instance for each in cluster.places() if each.instance.workload == name]
    return [f"{each.slot}.{each.attempt}" for each in places]


def test_newcomer_and_victims_are_one_transaction() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    made = cluster.plan()
    assert made.changes == ()
    (unit,) = made.together
    assert {change.workload.name: told(change.actions) for change in unit} == {
        "high": ["Place default.high.0.1"],
        "low": ["Stop default.low.0.1", "Stop default.low.1.1"],
    }
    assert all(change.status is not None for change in unit)


def test_the_newcomer_starts_after_its_victims_and_they_know_for_whom_they_go() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.lead()
    records = {
        place.instance.workload: entry.record for place, entry in cluster.state.assignments.items()
    }
    assert records["high"].after == ("default.low.0.1", "default.low.1.1")
    assert records["low"].wanted is Wanted.STOPPED
    assert records["low"].displaced_by == "default.high.0.1"
    assert records["low"].reason == (
        "gives way to default.high.0.1, whose priority is high, not low"
    )


def test_nobody_gives_way_while_most_nodes_are_not_heard_of() -> None:
    cluster = full_of(sized("low", 4, 4, priority=LOW), nodes=4)
    for node in ("n1", "n2", "n3"):
        cluster.lose(node)
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    made = cluster.lead()
    assert made.together == ()
    assert [told(change.actions) for change in made.changes] == [[]] * len(made.changes)
    cluster.revive("n1")
    cluster.revive("n2")
    (unit,) = cluster.lead().together
    assert sorted(told(change.actions)[0].split()[0] for change in unit) == ["Place", "Stop"]


def test_who_finds_room_displaces_nobody_beside_one_who_does() -> None:
    cluster = full_of(sized("low", 1, 3, priority=LOW))
    cluster.apply(sized("high", 2, 1, priority=HIGH))
    made = cluster.plan()
    assert [told(change.actions) for change in made.changes] == [["Place default.high.0.1"]]
    assert [told(change.actions) for unit in made.together for change in unit] == [
        ["Place default.high.1.1"],
        ["Stop default.low.0.1"],
    ]
    cluster.settle()
    assert names(cluster, "high") == ["0.1", "1.1"]


def test_who_gave_way_waits_for_room_and_is_remembered() -> None:
    cluster = full_of(sized("low", 1, 4, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.settle()
    (row,) = cluster.state.places_of(key("low"))
    assert cluster.state.assignments[row].record.displaced_by == "default.high.0.1"
    assert cluster.waiting()[0].startswith("slot 0 has no node: none of 1 node fits")
    cluster.add_node("n2")
    made = cluster.lead()
    assert [told(change.actions) for change in made.changes] == [
        ["Forget default.low.0.1", "Place default.low.0.2"]
    ]
    (successor,) = cluster.state.places_of(key("low"))
    assert cluster.state.assignments[successor].record.reason.startswith(
        "follows default.low.0.1, which gave way to default.high.0.1; of 1 node that fits"
    )
    cluster.settle()
    assert names(cluster, "low") == ["0.2"]


def where_low_was_displaced_and_bg_might_be() -> PlannedCluster:
    cluster = full_of(
        sized("bg", 1, 4, priority=PriorityClass.BACKGROUND),
        sized("low", 1, 4, priority=LOW),
        nodes=2,
    )
    [bg] = cluster.state.places_of(key("bg"))
    cluster.say_of_node(bg.node, DesiredNode(Availability.CORDONED))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.settle()
    cluster.say_of_node(bg.node, DesiredNode())
    return cluster


def test_who_gave_way_does_not_make_others_give_way() -> None:
    cluster = where_low_was_displaced_and_bg_might_be()
    cluster.settle()
    assert (names(cluster, "high"), names(cluster, "low"), names(cluster, "bg")) == (
        ["0.1"],
        [],
        ["0.1"],
    )


def test_an_instance_of_the_same_workload_that_was_not_displaced_may_displace() -> None:
    cluster = where_low_was_displaced_and_bg_might_be()
    cluster.apply(sized("low", 2, 4, priority=LOW))
    cluster.settle()
    assert names(cluster, "low") == ["1.1"]
    assert names(cluster, "bg") == []


def test_who_gave_way_and_is_scaled_away_is_forgotten() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.settle()
    assert len(cluster.state.places_of(key("low"))) == 2
    cluster.apply(sized("low", 1, 2, priority=LOW))
    cluster.settle()
    assert len(cluster.state.places_of(key("low"))) == 1
    cluster.delete(key("low"))
    cluster.settle()
    assert cluster.state.places_of(key("low")) == []
    assert key("low") not in cluster.state.statuses


def test_a_rollout_waits_for_those_who_have_no_place_and_says_what_for() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW), sized("low2", 1, 4), nodes=2)
    cluster.apply(sized("high", 1, 2, priority=HIGH))
    cluster.settle()
    cluster.apply(sized("low", 2, 2, priority=LOW, stop_grace_seconds=5.0))
    cluster.settle()
    assert "generation 2 is rolled out further when 1 more instances run" in cluster.waiting()


def test_the_newcomer_may_go_before_it_has_begun() -> None:
    cluster = full_of(sized("low", 1, 4, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.lead()
    cluster.delete(key("high"))
    cluster.settle()
    assert names(cluster, "low") == ["0.2"]


def test_nobody_is_displaced_twice_for_the_same() -> None:
    cluster = full_of(sized("low", 4, 4, priority=LOW), nodes=4)
    cluster.apply(sized("high", 2, 4, priority=HIGH))
    for _ in range(3):
        cluster.lead()  # the agents have not stopped anybody yet
    assert len(names(cluster, "low")) == 2
    cluster.settle()
    assert (len(names(cluster, "low")), len(names(cluster, "high"))) == (2, 2)


def test_the_newcomer_waits_also_for_those_who_leave_anyway() -> None:
    cluster = full_of(sized("low", 1, 2, priority=LOW), sized("old", 1, 2))
    cluster.delete(key("old"))
    cluster.lead()
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.lead()
    (newcomer,) = cluster.state.places_of(key("high"))
    after = ("default.low.0.1", "default.old.0.1")
    assert cluster.state.assignments[newcomer].record.after == after
    cluster.work(takes_long=lambda place: place.instance.workload == "old")
    cluster.work(takes_long=lambda place: place.instance.workload == "old")
    assert newcomer not in cluster.state.observations
    cluster.settle()
    assert newcomer in cluster.state.observations


def test_on_one_node_others_give_way_to_one_at_a_time() -> None:
    """The second one would count on the first one's victims, of whom nobody knows yet."""
    cluster = full_of(sized("low", 4, 1, priority=LOW))
    cluster.apply(sized("high", 2, 2, priority=HIGH))
    made = cluster.lead()
    assert len(made.together) == 1
    assert made.waiting[key("high")] == ("slot 1 waits for others to give way: they do on n1",)
    assert made.unplaced == (key("high"),)
    assert len(cluster.lead().together) == 1
    cluster.settle()
    assert names(cluster, "high") == ["0.1", "1.1"]


def test_on_several_nodes_others_give_way_at_once() -> None:
    cluster = full_of(sized("low", 2, 4, priority=LOW), nodes=2)
    cluster.apply(sized("high", 2, 4, priority=HIGH))
    assert len(cluster.lead().together) == 2


def test_the_most_important_newcomer_comes_first_on_a_node() -> None:
    cluster = full_of(sized("low", 4, 1, priority=LOW))
    cluster.apply(sized("a", 1, 2))
    cluster.apply(sized("b", 1, 2, priority=HIGH))
    made = cluster.lead()
    assert [change.workload.name for unit in made.together for change in unit] == ["b", "low"]


# Whoever the scheduler may name: what the drafts have decided counts


class Named:
    """A scheduler that has every request displace those instances, on node n1."""

    def __init__(self, *victims: str) -> None:
        self._victims = tuple(Victim(InstanceName.parse(each), "because") for each in victims)

    def schedule(
        self, requests: Sequence[ScheduleRequest], _snapshot: Snapshot
    ) -> list[ScheduleDecision]:
        return [AssignNode("n1", "because", victims=self._victims) for _ in requests]

    def explain(self, request: ScheduleRequest, snapshot: Snapshot) -> Explanation:
        return VectorScheduler().explain(request, snapshot)


def planned_with(cluster: PlannedCluster, scheduler: Named) -> tuple[bool, tuple[str, ...]]:
    """Whether anybody is displaced, and what high waits for."""
    made = plan(cluster.state, cluster.now, scheduler, scope=[key("high")])
    assert (key("high") in made.unplaced) is not bool(made.together)
    return bool(made.together), made.waiting.get(key("high"), ())


def test_who_goes_by_another_decision_is_waited_for() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW))
    cluster.apply(sized("low", 1, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    assert planned_with(cluster, Named("default.low.0.1", "default.low.1.1")) == (
        False,
        ("slot 0 waits for others to give way: default.low.1.1 goes already",),
    )


def test_who_is_not_there_any_more_is_not_displaced() -> None:
    cluster = full_of(sized("low", 1, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    assert planned_with(cluster, Named("default.low.7.1")) == (
        False,
        ("slot 0 waits for others to give way: default.low.7.1 goes already",),
    )


def test_a_budget_is_not_spent_twice_by_one_plan() -> None:
    """The rollout stops one already: the scheduler cannot know."""
    cluster = full_of(sized("low", 2, 2, priority=LOW, min_available=1))
    cluster.apply(sized("low", 2, 2, priority=LOW, min_available=1, stop_grace_seconds=5.0))
    cluster.apply(sized("high", 1, 2, priority=HIGH))
    assert planned_with(cluster, Named("default.low.1.1")) == (
        False,
        ("slot 0 waits for others to give way: too few of default/low would run",),
    )


def test_who_does_not_run_yet_costs_no_budget() -> None:
    cluster = full_of(sized("low", 1, 2, priority=LOW, min_available=1))
    cluster.apply(sized("low", 2, 2, priority=LOW, min_available=1))
    cluster.lead()
    cluster.apply(sized("high", 1, 2, priority=HIGH))
    assert planned_with(cluster, Named("default.low.1.1")) == (True, ())


def test_of_workloads_that_are_not_planned_now_only_the_victims_are_touched() -> None:
    cluster = full_of(sized("low", 2, 2, priority=LOW), sized("other", 0, 1))
    cluster.apply(sized("low", 3, 2, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    made = plan(
        cluster.state,
        cluster.now,
        Named("default.low.0.1", "default.low.1.1"),
        scope=[key("high")],
    )
    assert made.changes == ()
    assert {change.workload.name for unit in made.together for change in unit} == {"high", "low"}
    kinds = [type(each) for unit in made.together for change in unit for each in change.actions]
    assert kinds == [Place, Stop, Stop]


def test_what_nobody_can_read_displaces_nobody_and_gives_way_to_nobody() -> None:
    cluster = full_of(sized("low", 1, 4, priority=LOW))
    cluster.put_bytes(cluster.keys.workload(key("low")), b"{")
    cluster.state = cluster.read_anew(random.Random(0))  # a new leader has never read it
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    made = cluster.plan()
    assert made.together == ()
    assert [type(each) for change in made.changes for each in change.actions] == []
    assert names(cluster, "low") == ["0.1"]


def test_a_failed_one_is_replaced_where_others_give_way_in_the_same_transaction() -> None:
    cluster = full_of(sized("high", 1, 4, priority=HIGH))
    cluster.lose("n1")
    cluster.add_node("n2")
    cluster.apply(sized("low", 1, 4, priority=LOW))
    cluster.settle()
    cluster.wait(60)
    made = cluster.lead()
    actions = {
        change.workload.name: told(change.actions) for unit in made.together for change in unit
    }
    assert actions == {
        "high": ["Stop default.high.0.1", "Place default.high.0.2"],
        "low": ["Stop default.low.0.1"],
    }
    cluster.settle()
    assert names(cluster, "high") == ["0.2"]


def test_what_fails_while_it_waits_for_others_to_go_is_simply_replaced() -> None:
    cluster = full_of(sized("low", 1, 4, priority=LOW))
    cluster.apply(sized("high", 1, 4, priority=HIGH))
    cluster.lead()
    [place] = cluster.state.places_of(key("high"))
    cluster.report(place, Status.FAILED)
    cluster.settle()
    assert names(cluster, "high") == ["0.2"]
    assert not any(
        isinstance(each, Forget) for change in cluster.plan().changes for each in change.actions
    )


@pytest.mark.parametrize("gang_of", [1, 5])
def test_the_largest_unit_fits_one_transaction(gang_of: int) -> None:
    """Each victim of another workload, each newcomer in the place of one that failed."""
    lows = [sized(f"low{at}", 1, 4 / 25, priority=LOW) for at in range(25)]
    cluster = full_of(sized("high", gang_of, 4 / gang_of, priority=HIGH, gang=True))
    for place in cluster.places():
        cluster.report(place, Status.FAILED)
    for spec in lows:
        cluster.apply(spec)
    made = plan(cluster.state, cluster.now, VectorScheduler(), scope=[each.key for each in lows])
    assert len(made.changes) == 25
    cluster.commit(made)
    (unit,) = cluster.plan().together
    assert len(unit) == 26
    rows = [each for change in unit for each in mutations_of(change, cluster.state)]
    events = [each for change in unit for each in stories_of(change)]
    assert len(rows) + len(events) + 1 <= MAX_OPS
