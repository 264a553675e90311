"""`orc why` and its API: what is known, what each node says, what would help, what happened."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model.instance import (
    Assignment,
    InstanceName,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.planning.occupancy import Occupancy
from orchestrator.planning.why import (
    explain_instance,
    explain_workload,
    gone_reasons,
    instance_reasons,
    workload_reasons,
)
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

KEY = web().key


def asking(cpu: float) -> tuple[ContainerConfig, ...]:
    return (
        ContainerConfig("app", command=("serve",), resource_requests=NodeResources(cpu_cores=cpu)),
    )


def test_a_workload_says_what_it_has_and_all_that_waits() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(web(3, containers=asking(3)))
    assert workload_reasons(cluster.state, KEY) == (
        "3 replicas wanted; the leader has not seen it yet",
    )
    cluster.settle()
    assert workload_reasons(cluster.state, KEY) == (
        "3 replicas wanted: 2 run, 0 are starting, 0 have failed, 0 are stopping",
        "slot 2 has no node: none of 2 nodes fits: 2 lack 3 cores (most free: 1 core on n1);"
        " with 2 cores less, 2 nodes would fit",
    )
    cluster.delete(KEY)
    assert workload_reasons(cluster.state, KEY)[0].startswith("it was deleted; 0 replicas wanted")
    assert workload_reasons(cluster.state, replace(web(), name="other").key) == ()


def test_one_more_of_it_is_told_by_every_node_what_it_lacks() -> None:
    cluster = PlannedCluster(3)
    cluster.apply(web(2, containers=asking(3)))
    cluster.settle()
    occupancy = Occupancy(cluster.state)
    said = explain_workload(cluster.state, KEY, occupancy, VectorScheduler(), cluster.now)
    assert said is not None
    assert said.summary == "1 of 3 nodes fit"
    assert [(each.node, each.rank, each.standing, each.refusals) for each in said.nodes] == [
        ("n3", 1, "0 of it, 75 % full, 0 instances", ()),
        ("n1", 0, "", ("lacks 2 cores (free: 1 core)",)),
        ("n2", 0, "", ("lacks 2 cores (free: 1 core)",)),
    ]
    cluster.delete(KEY)
    nothing = explain_workload(cluster.state, KEY, occupancy, VectorScheduler(), cluster.now)
    assert nothing is None


def test_an_instance_is_compared_with_its_own_place_free() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(web(2, containers=asking(3)))
    cluster.settle()
    place = cluster.place_of(0)
    occupancy = Occupancy(cluster.state)
    said = explain_instance(cluster.state, place, occupancy, VectorScheduler(), cluster.now)
    assert [(each.node, bool(each.refusals)) for each in said.nodes] == [
        ("n1", False),
        ("n2", True),
    ]
    plainly = explain_instance(cluster.state, place, occupancy, SimpleScheduler(), cluster.now)
    assert plainly.summary == said.summary
    absent = InstancePlace("n9", InstanceName(*KEY, 7, 1))
    assert occupancy.without(absent).held.tolist() == [1, 1]


def test_an_instance_says_why_it_is_there_and_how_it_fares() -> None:
    cluster = PlannedCluster(2)
    cluster.apply(web(1))
    cluster.settle()
    place = cluster.place_of(0)
    assert instance_reasons(cluster.state, place) == (
        "it is Running on n1",
        "it was placed there because: 1 replicas wanted, 0 there; of 2 nodes that fit, n1 has the"
        " fewest of it (0)",
    )
    cluster.fail(0)
    cluster.lead()
    assert instance_reasons(cluster.state, cluster.place_of(0))[2:] == (
        "its slot has failed 1 times in a row, on n1",
    )


def test_one_that_gives_way_and_one_that_waits_for_it_name_each_other() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(web(1))
    cluster.settle()
    old = cluster.place_of(0)
    assignment = Assignment(
        *KEY, 1, 1, 1, Wanted.RUNNING, "asked for", gpus=(0, 2), after=(str(old.instance),)
    )
    new = InstancePlace("n1", assignment.name)
    cluster.put(cluster.keys.assignment(new), assignment)
    stopped = replace(
        cluster.state.assignments[old].record,
        wanted=Wanted.STOPPED,
        reason="gives way",
        displaced_by=str(new.instance),
    )
    cluster.put(cluster.keys.assignment(old), stopped)
    assert instance_reasons(cluster.state, old) == (
        "it is Terminating on n1",
        "it is to stop: gives way",
        "it gives way to default.web.1.1",
    )
    created = cluster.state.assignments[new].create_revision
    waits = InstanceObservation(WorkloadInstanceStatus.PENDING, created, "waits for it to stop")
    cluster.put(cluster.keys.observation(new), waits)
    assert instance_reasons(cluster.state, new) == (
        "it is Pending on n1, with gpus 0, 2",
        "it was placed there because: asked for",
        "it starts when these have ended: default.web.0.1",
        "its node says: waits for it to stop",
    )
    cluster.put(cluster.keys.assignment(new), replace(assignment, gpus=(1,)))
    assert instance_reasons(cluster.state, new)[0] == "it is Pending on n1, with gpu 1"


def test_one_that_is_gone_says_who_has_its_slot() -> None:
    cluster = PlannedCluster(1)
    cluster.apply(web(1))
    cluster.settle()
    cluster.report(cluster.place_of(0), Status.FAILED)
    cluster.lead()
    first = InstanceName(*KEY, 0, 1)
    assert gone_reasons(cluster.state, first)[1].startswith("its slot is held by default.web.0.2")
    assert gone_reasons(cluster.state, InstanceName(*KEY, 5, 1))[1] == "nobody holds its slot"
