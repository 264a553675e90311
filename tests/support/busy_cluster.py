"""A cluster in which there is something of every kind to decide, and its plan as text.

`python -m tests.support.busy_cluster` prints that text: with another PYTHONHASHSEED it must be
the same.
"""

from __future__ import annotations

import random

from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, OnNodeLost, PortMapping
from orchestrator.planning.plan import plan
from orchestrator.scheduler.protocol import Scheduler
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

LARGE = ContainerConfig(
    "app",
    command=("serve",),
    ports=(PortMapping(80, host_port=8080), PortMapping(81, host_port=8081)),
    resource_requests=NodeResources(cpu_cores=9, memory_mb=9000, custom={"gpu": 1.0, "fpga": 2.0}),
)


def busy_cluster() -> PlannedCluster:
    """Node n1 is lost, n2 cordoned; every workload wants something else of the leader."""
    cluster = PlannedCluster(8)
    for name in ("down", "up", "gone", "crashing", "rolled", "spoilt", "orphaned"):
        cluster.apply(web(6, name=name))
    cluster.apply(web(6, name="patient", on_node_lost=OnNodeLost.WAIT))
    cluster.settle()
    cluster.apply(web(2, name="down"))
    cluster.apply(web(13, name="up"))
    cluster.delete(web(name="gone").key)
    cluster.apply(web(6, name="rolled", stop_grace_seconds=5.0))
    for name in ("large-a", "large-b", "large-c"):
        cluster.apply(web(3, name=name, containers=(LARGE,)))
    spoilt, orphaned, crashing = (
        cluster.state.places_of(web(name=name).key) for name in ("spoilt", "orphaned", "crashing")
    )
    for place in spoilt[:4]:
        cluster.put_bytes(cluster.keys.assignment(place), b"{")
    for place in orphaned[:4]:
        cluster.drop(cluster.keys.assignment(place))
    cluster.report(crashing[0], Status.FAILED)
    cluster.lose("n1")
    cluster.say_of_node("n2", DesiredNode(Availability.CORDONED))
    return cluster


def shown_plan(order: random.Random, scheduler: Scheduler) -> str:
    """What a leader does whose patience with n1 is at its end; it has read the rows in `order`."""
    cluster = busy_cluster()
    return repr(plan(cluster.read_anew(order), cluster.now + 31, scheduler))


if __name__ == "__main__":
    print(shown_plan(random.Random(0), VectorScheduler()))
