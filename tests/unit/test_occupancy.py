"""What rows come to in the scheduler's columns, and that it goes along with them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability, DesiredNode, NodeReport
from orchestrator.model.placement import Affinity, Placement, PriorityClass, Taint
from orchestrator.model.resources import NodeResources
from orchestrator.model.rules.resources import MAX_GPUS
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadDefinition
from orchestrator.planning.occupancy import FEW, Occupancy
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status
from tests.support.same_snapshot import differences

KEY = web().key
CORE = ContainerConfig(
    "app",
    command=("serve",),
    ports=(PortMapping(80, host_port=8080),),
    resource_requests=NodeResources(cpu_cores=1),
)


class Followed(PlannedCluster):
    """A cluster, and an occupancy that has followed it from the beginning."""

    def __init__(self, nodes: int) -> None:
        super().__init__(nodes)
        self.occupancy = Occupancy(self.state)

    def snapshot(self) -> Snapshot:
        """As it is kept; it must be what one would work out afresh."""
        kept, fresh = self.occupancy.snapshot(), Occupancy(self.state)
        assert differences(kept, fresh.snapshot()) == []
        fresh.close()
        return kept

    def free(self, node: str) -> int:
        snapshot = self.snapshot()
        return int(snapshot.free["cpu_cores"][snapshot.facts.index[node]])

    def facts(self, node: str) -> NodeFacts:
        facts = self.snapshot().facts
        return facts.nodes[facts.index[node]]


@pytest.fixture
def cluster() -> Iterator[Followed]:
    made = Followed(1)
    yield made
    made.occupancy.close()
    assert made.state.followers == []


def core(replicas: int = 1, **changes: object) -> WorkloadDefinition:
    return web(replicas, **{"containers": (CORE,), **changes})


def running(cluster: Followed, replicas: int = 1, **changes: object) -> InstancePlace:
    cluster.apply(core(replicas, **changes))
    cluster.settle()
    return cluster.places()[0]


# Instances


def test_an_assignment_takes_room_and_its_confirmed_end_gives_it_back(cluster: Followed) -> None:
    assert cluster.free("n1") == 4000
    place = running(cluster)
    assert cluster.free("n1") == 3000
    assert cluster.snapshot().ports == {("tcp", 8080): {0: 1}}
    cluster.report(place, Status.FAILED)
    assert cluster.free("n1") == 4000
    assert cluster.snapshot().ports == {}


def test_what_runs_at_last_takes_no_more_than_when_it_was_assigned(cluster: Followed) -> None:
    cluster.apply(core())
    cluster.lead()
    assert cluster.free("n1") == 3000
    cluster.work()
    assert cluster.free("n1") == 3000


def test_what_is_asked_to_stop_takes_room_until_it_has(cluster: Followed) -> None:
    running(cluster)
    cluster.apply(core(0))
    cluster.lead()
    assert cluster.free("n1") == 3000
    assert cluster.snapshot().leaving["cpu_cores"].tolist() == [1000]
    cluster.work()
    assert cluster.free("n1") == 4000


def test_what_an_agent_said_of_an_earlier_namesake_does_not_count(cluster: Followed) -> None:
    place = running(cluster)
    row = cluster.state.assignments[place].record
    cluster.report(place, Status.SUCCEEDED)
    cluster.drop(cluster.keys.assignment(place))
    cluster.names_used.clear()
    cluster.put(cluster.keys.assignment(place), row)
    assert cluster.free("n1") == 3000


def test_devices_are_taken_and_given_back(cluster: Followed) -> None:
    report = cluster.state.reports["n1"].record
    cluster.put(cluster.keys.node_report("n1"), replace(report, gpus=("T4", "T4")))
    half = ContainerConfig(
        "app", command=("train",), resource_requests=NodeResources(custom={"gpu": 0.25})
    )
    place = running(cluster, containers=(half,))
    assert cluster.snapshot().gpus_free.tolist() == [[750, 1000]]
    cluster.drop(cluster.keys.assignment(place))
    assert cluster.snapshot().gpus_free.tolist() == [[1000, 1000]]


def test_rows_that_people_have_put_in_count_as_what_they_say(cluster: Followed) -> None:
    cluster.apply(core(0))
    for slot, node in enumerate(("n1", "n7")):
        name = InstanceName("default", "web", slot, 9)
        row = Assignment(*name[:2], 1, slot, 9, Wanted.RUNNING, "by hand", gpus=(-1, 7))
        cluster.put(cluster.keys.assignment(InstancePlace(node, name)), row)
    assert cluster.free("n1") == 3000
    cluster.add_node("n7")
    assert cluster.free("n7") == 3000


def test_what_comes_and_goes_while_nobody_asks_is_not_kept_for_ever(cluster: Followed) -> None:
    place = running(cluster)
    record = cluster.state.assignments[place].record
    for slot in range(1, FEW + 10):
        other = InstancePlace("n1", place.instance._replace(slot=slot))
        cluster.put(cluster.keys.assignment(other), replace(record, slot=slot))
        cluster.drop(cluster.keys.assignment(other))
    assert cluster.free("n1") == 3000


def test_a_fork_follows_its_own_state_from_then_on(cluster: Followed) -> None:
    place = running(cluster)
    cluster.snapshot()
    cluster.apply(core(1, labels={"tier": "b"}))  # what nobody has looked at yet goes along
    copy = cluster.state.copy()
    fork = cluster.occupancy.fork(copy)
    cluster.report(place, Status.FAILED)
    assert cluster.free("n1") == 4000
    forked, fresh = fork.snapshot(), Occupancy(copy)
    assert differences(forked, fresh.snapshot()) == []
    assert forked.free["cpu_cores"].tolist() == [3000]
    assert forked.labels == {KEY: {"tier": "b"}}
    assert forked.budget(KEY) is None


def test_one_may_ask_how_it_would_be_without_somebody(cluster: Followed) -> None:
    place = running(cluster)
    assert cluster.occupancy.without(place).free["cpu_cores"].tolist() == [4000]
    stranger = InstancePlace("n1", place.instance._replace(slot=7))
    assert cluster.occupancy.without(stranger).free["cpu_cores"].tolist() == [3000]
    assert cluster.free("n1") == 3000


# Workloads


def test_without_a_template_it_asks_for_nothing_until_that_comes(cluster: Followed) -> None:
    place = running(cluster, labels={"tier": "a"})
    template = cluster.keys.revision(KEY, 1)
    cluster.drop(template)
    assert cluster.free("n1") == 4000
    assert cluster.snapshot().labels == {KEY: {"tier": "a"}}
    cluster.put(template, core().template())
    assert cluster.free("n1") == 3000
    assert cluster.snapshot().claims[0].keys() == {place.instance}


def test_labels_and_priority_change_for_all_instances_at_once(cluster: Followed) -> None:
    away = Placement(anti_affinity=(Affinity("db"),))
    container = replace(CORE, ports=())
    spec = core(3, containers=(container,), placement=away, labels={"tier": "a"})
    cluster.apply(spec)
    cluster.settle()
    assert cluster.snapshot().staying[PriorityClass.NORMAL.rank]["cpu_cores"].tolist() == [3000]
    cluster.apply(replace(spec, labels={"tier": "b"}, priority=PriorityClass.LOW))
    snapshot = cluster.snapshot()
    assert snapshot.staying[PriorityClass.NORMAL.rank]["cpu_cores"].tolist() == [0]
    assert snapshot.staying[PriorityClass.LOW.rank]["cpu_cores"].tolist() == [3000]
    assert snapshot.labels == {KEY: {"tier": "b"}}


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_who_ends_just_when_the_labels_change_takes_the_old_ones_along(
    cluster: Followed, slot: int
) -> None:
    spec = core(3, containers=(replace(CORE, ports=()),), labels={"tier": "a"})
    cluster.apply(spec)
    cluster.settle()
    cluster.snapshot()
    cluster.apply(replace(spec, labels={"tier": "b"}))
    cluster.report(cluster.place_of(slot), Status.FAILED)
    assert cluster.snapshot().labels == {KEY: {"tier": "b"}}


def test_scaling_leaves_shapes_as_they_are(cluster: Followed) -> None:
    running(cluster)
    before = cluster.occupancy.shape(KEY, 1)
    cluster.apply(core(2))
    cluster.snapshot()
    assert cluster.occupancy.shape(KEY, 1) is before


@pytest.mark.parametrize(
    ("min_available", "expected"), [(None, None), (0, 2), (1, 1), (2, 0), (9, 0)]
)
def test_a_budget_is_what_runs_above_the_minimum(
    cluster: Followed, min_available: int | None, expected: int | None
) -> None:
    spec = core(2, containers=(replace(CORE, ports=()),), min_available=min_available)
    cluster.apply(spec)
    cluster.settle()
    assert cluster.snapshot().budget(KEY) == expected
    cluster.apply(replace(spec, replicas=3))
    cluster.lead()  # the third one does not run yet
    assert cluster.snapshot().budget(KEY) == expected


def test_what_nobody_can_read_is_not_to_be_disrupted_and_what_is_gone_may_be(
    cluster: Followed,
) -> None:
    running(cluster)
    cluster.put_bytes(cluster.keys.workload(KEY), b"{")
    unread = Occupancy(cluster.read_anew(random.Random(0)))
    assert unread.snapshot().budget(KEY) == 0
    cluster.drop(cluster.keys.workload(KEY))
    assert cluster.snapshot().budget(KEY) is None


# Nodes


def test_a_node_is_what_its_agent_and_people_say_of_it(cluster: Followed) -> None:
    has = NodeResources(cpu_cores=2, memory_mb=100, custom={"gpu": 2.0, "fpga": 1.0})
    report = NodeReport(
        "http://n1",
        NodeResources(cpu_cores=8),
        has,
        runtimes=("process", "oci"),
        labels={"zone": "a", "disk": "ssd"},
        images=("nginx",),
    )
    cluster.put(cluster.keys.node_report("n1"), report)
    cluster.say_of_node("n1", DesiredNode(labels={"zone": "b"}, taints=(Taint("gpu"),)))
    assert cluster.facts("n1") == NodeFacts(
        "n1",
        {"cpu_cores": 2000, "memory_mb": 100_000, "fpga": 1000},
        gpus=("", ""),
        labels={"zone": "b", "disk": "ssd"},
        taints=(Taint("gpu"),),
        runtimes=frozenset({"process", "oci"}),
        images=frozenset({"nginx"}),
    )


@pytest.mark.parametrize("gpus", [(), ("T4",) * 100_000])
def test_no_report_makes_columns_without_end(cluster: Followed, gpus: tuple[str, ...]) -> None:
    has = NodeResources(custom={"gpu": 1e12})
    cluster.put(cluster.keys.node_report("n1"), NodeReport("http://n1", has, has, gpus=gpus))
    assert len(cluster.facts("n1").gpus) == MAX_GPUS


def test_each_reason_to_take_nobody_has_its_words(cluster: Followed) -> None:
    def refusal() -> str:
        return cluster.facts("n1").refusal

    assert refusal() == ""
    cluster.say_of_node("n1", DesiredNode(Availability.CORDONED))
    assert refusal() == "is cordoned"
    cluster.say_of_node("n1", DesiredNode(Availability.DRAINING))
    assert refusal() == "is draining"
    report = cluster.state.reports["n1"].record
    cluster.put(cluster.keys.node_report("n1"), replace(report, problem="no space left"))
    assert refusal() == "is NotReady: no space left"
    cluster.lose("n1")
    assert refusal() == "cannot be reached"
    cluster.say_of_node("n1", DesiredNode(is_declared_lost=True))
    assert refusal() == "has been declared lost"
    cluster.revive("n1")
    cluster.drop(cluster.keys.node_report("n1"))
    assert refusal() == "is NotReady: its agent has not reported yet"


def test_a_node_of_which_only_people_speak_takes_nobody(cluster: Followed) -> None:
    cluster.say_of_node("n9", DesiredNode())
    assert cluster.facts("n9").refusal == "cannot be reached"


def test_claims_stay_when_other_nodes_come_and_go(cluster: Followed) -> None:
    running(cluster)
    cluster.snapshot()
    cluster.add_node("n0")
    assert cluster.free("n1") == 3000
    cluster.drop(cluster.keys.session("n0"))
    cluster.drop(cluster.keys.node_report("n0"))
    assert cluster.snapshot().facts.names == ("n1",)
    assert cluster.free("n1") == 3000


def test_a_node_that_is_gone_takes_its_claims_along_and_brings_them_back(
    cluster: Followed,
) -> None:
    running(cluster)
    cluster.snapshot()
    cluster.add_node("n2")
    for key in (cluster.keys.session("n1"), cluster.keys.node_report("n1")):
        cluster.drop(key)
    assert cluster.snapshot().presence == {}
    cluster.add_node("n1")
    assert cluster.free("n1") == 3000


def test_a_heartbeat_that_says_nothing_new_changes_nothing(cluster: Followed) -> None:
    before = cluster.snapshot()
    report = cluster.state.reports["n1"].record
    cluster.put(cluster.keys.node_report("n1"), replace(report, hostname="other"))
    assert cluster.snapshot() is before


@pytest.mark.parametrize(
    "allocatable",
    [
        NodeResources(cpu_cores=8),
        NodeResources(cpu_cores=0.5),
        NodeResources(cpu_cores=8, custom={"fpga": 1.0}),
        NodeResources(cpu_cores=8, custom={"gpu": 1.0}),
    ],
    ids=["more", "less-than-is-used", "another-resource", "another-device"],
)
def test_capacity_may_change_under_what_runs(cluster: Followed, allocatable: NodeResources) -> None:
    running(cluster)
    cluster.snapshot()
    cluster.add_node("n1", allocatable)
    assert cluster.free("n1") == allocatable.quantities()["cpu_cores"] - 1000
