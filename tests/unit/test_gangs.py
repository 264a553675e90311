"""Gangs: placed all at once or not at all, and once placed, mended one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.model.actions import Forget, Place, Plan
from orchestrator.model.placement import PriorityClass
from orchestrator.model.resources import NodeResources
from orchestrator.model.rules.workload import MAX_GANG
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition, WorkloadKey
from orchestrator.scheduler.protocol import NoPlacement, Shape
from orchestrator.simulation.samples import web
from tests.support.placing import PlacingCluster, asked, cluster, shape
from tests.support.planned_cluster import PlannedCluster, Status

LOW, HIGH = PriorityClass.LOW, PriorityClass.HIGH


def gang(name: str = "gang", cpu: float = 1, **changes: Any) -> Shape:
    return shape(name, cpu, gang=True, **changes)


# In the scheduler


def test_a_gang_that_fits_is_placed_like_any_other() -> None:
    assert cluster("n1", "n2").place(asked(gang(cpu=2), 4)) == "n1 n2 n1 n2"


def test_a_gang_that_does_not_fit_as_a_whole_is_not_placed_at_all() -> None:
    made = cluster("n1", "n2").decide(asked(gang(cpu=2), 5))
    reason = (
        "a gang is placed as a whole, and only 4 of 5 fit: none of 2 nodes fits:"
        " 2 lack 2 cores (most free: 0 cores on n1); without cpu_cores, 2 nodes would fit"
    )
    assert made == [NoPlacement(reason)] * 5


def test_two_gangs_that_do_not_both_fit_do_not_share_what_there_is() -> None:
    requests = [*asked(gang("a", 2), 3), *asked(gang("b", 2), 3)]
    assert cluster("n1", "n2").place(requests) == "n1 n2 n1 - - -"
    assert cluster("n1", "n2").place(requests[::-1]) == "- - - n1 n2 n1"


def test_what_a_gang_was_refused_is_there_for_the_next_one() -> None:
    requests = [*asked(gang("a", 2), 5), *asked(shape("b", 4), 2)]
    assert cluster("n1", "n2").place(requests) == "- - - - - n1 n2"


def test_a_gang_some_of_which_is_placed_is_mended_one_by_one() -> None:
    nodes = cluster("n1")
    nodes.holds("n1", gang(cpu=1), 2)
    assert nodes.place(asked(gang(cpu=1), 3)) == "n1 n1 -"


def crowded() -> PlacingCluster:
    nodes = cluster("n1", "n2")
    for node in ("n1", "n2"):
        nodes.holds(node, shape("low", 4, priority=LOW))
    return nodes


def test_all_or_none_of_a_gang_displaces_others() -> None:
    nodes = crowded()
    assert nodes.place(asked(gang(cpu=4, priority=HIGH), 2)) == "n1 n2"
    made = nodes.decide(asked(gang(cpu=4, priority=HIGH), 3))
    assert [type(each) for each in made] == [NoPlacement] * 3
    assert "only 2 of 3 fit" in str(made[0])


def test_nobody_is_displaced_by_a_gang_that_was_refused() -> None:
    """What was tried for it is taken back, also what an earlier request had decided is kept."""
    nodes = crowded()
    for node in ("n1", "n2"):
        nodes.holds(node, shape("idle", 0))
    nodes.node("n3", 4)
    nodes.holds("n3", shape("low", 2, priority=LOW), 2)
    first = asked(shape("first", 4, priority=PriorityClass.CRITICAL))
    requests = [*first, *asked(gang(cpu=4, priority=HIGH), 3), *asked(shape("last", 3), 3)]
    made = nodes.decide(requests)
    victims = [[each.instance.slot for each in getattr(one, "victims", ())] for one in made]
    assert nodes.place(requests) == "n1 - - - n2 n3 -"
    assert victims == [[1000], [], [], [], [1001], [1004, 1005], []]


def test_a_gang_is_one_decision_whoever_of_it_may_displace_others() -> None:
    nodes = cluster("n1", "n2")
    nodes.holds("n1", shape("low", 4, priority=LOW))
    wanted = gang(cpu=4, priority=HIGH)
    one, other = asked(wanted, 2)
    assert nodes.place([replace(one, may_displace=False), other]) == "n2 n1"
    assert nodes.place([one, replace(other, may_displace=False)]) == "- -"


# In the planner


def job(replicas: int, cpu: float = 2, **changes: Any) -> WorkloadDefinition:
    container = ContainerConfig(
        "app", command=("train",), resource_requests=NodeResources(cpu_cores=cpu)
    )
    values = {"name": "job", "gang": True, "containers": (container,), **changes}
    return web(replicas, **values)


def names_of(cluster: PlannedCluster, name: str = "job") -> list[str]:
    places = [each for each in cluster.places() if each.instance.workload == name]
    return [f"{each.instance.slot}.{each.instance.attempt}" for each in places]


def test_a_gang_waits_until_there_is_room_for_all_of_it() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(job(5))
    cluster.settle()
    assert names_of(cluster) == []
    assert cluster.waiting()[0].startswith(
        "slot 0 has no node: a gang is placed as a whole, and only 4 of 5 fit"
    )
    cluster.add_node("n3")
    cluster.settle()
    assert names_of(cluster) == ["0.1", "1.1", "2.1", "3.1", "4.1"]


def test_of_two_gangs_one_runs_and_the_other_follows() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(job(3, name="a"))
    cluster.apply(job(3, name="b"))
    cluster.settle()
    assert (len(names_of(cluster, "a")), len(names_of(cluster, "b"))) == (3, 0)
    cluster.delete(WorkloadKey("default", "a"))
    cluster.settle()
    assert (len(names_of(cluster, "a")), len(names_of(cluster, "b"))) == (0, 3)


def test_a_member_that_fails_is_replaced_alone() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(job(4))
    cluster.settle()
    cluster.report(cluster.place_of(1), Status.FAILED)
    cluster.settle()
    assert names_of(cluster) == ["0.1", "1.2", "2.1", "3.1"]


def test_a_gang_keeps_what_it_has_while_a_lost_member_has_no_place() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(job(4))
    cluster.settle()
    lost = [each.instance.slot for each in cluster.places() if each.node == "n2"]
    cluster.lose("n2")
    cluster.wait(60)
    cluster.settle()
    assert names_of(cluster) == ["0.1", "1.1", "2.1", "3.1"]
    cluster.add_node("n3")
    cluster.settle()
    attempts = {slot: 2 if slot in lost else 1 for slot in range(4)}
    assert names_of(cluster) == [f"{slot}.{attempt}" for slot, attempt in attempts.items()]


def placements(made: Plan) -> list[int]:
    """How many each transaction makes."""
    units = [*((change,) for change in made.changes), *made.together]
    counts = [
        sum(isinstance(action, Place) for change in unit for action in change.actions)
        for unit in units
    ]
    return [count for count in counts if count]


def test_the_largest_gang_is_placed_in_one_transaction() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(job(MAX_GANG, cpu=0))
    assert placements(cluster.plan()) == [MAX_GANG]


def test_so_it_is_if_much_else_is_done_for_it_at_the_same_time() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(job(90, cpu=0, gang=False))
    cluster.settle()
    cluster.apply(job(0, cpu=0))
    cluster.lead()
    cluster.work()
    cluster.apply(job(MAX_GANG, cpu=0))
    made = cluster.lead()
    first, second = made.changes
    assert all(isinstance(action, Forget) for action in first.actions)
    assert placements(made) == [len(second.actions)] == [MAX_GANG]


def test_so_it_is_if_each_member_replaces_an_earlier_one() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(job(50, cpu=0))
    cluster.settle()
    for place in cluster.places():
        cluster.report(place, Status.FAILED)
    made = cluster.lead()
    assert placements(made) == [50]
    assert len(made.changes) == 1


def displaced_by_gang(replicas: int, others: int) -> tuple[PlannedCluster, Plan]:
    """A gang that arrives on two full nodes."""
    cluster = PlannedCluster(0)
    for node in ("n1", "n2"):
        cluster.add_node(node, NodeResources(cpu_cores=replicas))
    cluster.apply(job(others, cpu=replicas * 2 / others, name="low", gang=False, priority=LOW))
    cluster.settle()
    cluster.apply(job(replicas, cpu=1, priority=HIGH))
    return cluster, cluster.lead()


def test_a_gang_and_all_who_give_way_to_it_are_one_transaction() -> None:
    cluster, made = displaced_by_gang(replicas=4, others=8)
    assert [len(unit) for unit in made.together] == [2]
    assert placements(made) == [4]
    cluster.settle()
    assert len(names_of(cluster)) == 4
    assert len(names_of(cluster, "low")) == 4


def test_a_gang_some_of_which_finds_room_is_one_transaction_all_the_same() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(job(1, cpu=2, name="low", gang=False, priority=LOW))
    cluster.settle()
    cluster.apply(job(2, cpu=2, priority=HIGH))
    made = cluster.lead()
    assert placements(made) == [2]
    assert len(made.together) == 1


def test_a_gang_that_would_displace_too_many_at_once_waits_and_says_so() -> None:
    cluster, made = displaced_by_gang(replicas=50, others=200)
    assert placements(made) == []
    assert names_of(cluster) == []
    assert cluster.waiting()[0] == (
        "slot 0 waits for others to give way: 50 instances and 100 others are too many at once"
    )
