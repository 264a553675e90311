"""A cluster to place instances on, told in few words: nodes, what they hold, and what is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import Placement
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import (
    AssignNode,
    ScheduleDecision,
    Scheduler,
    ScheduleRequest,
    Shape,
)
from orchestrator.scheduler.snapshot import Claim, Snapshot
from orchestrator.scheduler.vector import VectorScheduler


def shape(name: str = "web", cpu: float = 1, /, **changes: Any) -> Shape:
    """Of a workload of that name. The constraints of `Placement` may be told directly."""
    constraints = {key: changes.pop(key) for key in Placement.__slots__ if key in changes}
    values = {
        "workload": WorkloadKey(changes.pop("namespace", "default"), name),
        "quantities": NodeResources(cpu_cores=cpu).quantities(),
        "labels": {"app": name},
        "placement": Placement(**constraints),
    }
    return Shape(**{**values, **changes})


def asked(wanted: Shape, count: int = 1, first: int = 0, **changes: Any) -> list[ScheduleRequest]:
    """Requests for so many of the shape."""
    return [
        ScheduleRequest(InstanceName(*wanted.workload, slot, 1), wanted, **changes)
        for slot in range(first, first + count)
    ]


@dataclass(slots=True)
class PlacingCluster:
    nodes: list[NodeFacts] = field(default_factory=list)
    claims: dict[str, list[Claim]] = field(default_factory=dict)

    def node(self, name: str, cpu: float = 4, /, **labels_and_changes: Any) -> None:
        """Text says its labels, anything else is a field of `NodeFacts`."""
        labels = {key: each for key, each in labels_and_changes.items() if isinstance(each, str)}
        labels.pop("refusal", None)
        changes = {key: each for key, each in labels_and_changes.items() if key not in labels}
        allocatable = NodeResources(cpu_cores=cpu, memory_mb=1000).quantities()
        values = {"allocatable": allocatable, "labels": labels}
        self.nodes.append(NodeFacts(name, **{**values, **changes}))

    def holds(self, node: str, held: Shape, count: int = 1, **changes: Any) -> None:
        """So many of the shape run on the node already; `changes` are fields of `Claim`."""
        claims = self.claims.setdefault(node, [])
        slots = sum(len(each) for each in self.claims.values())
        claims += [
            Claim(InstanceName(*held.workload, 1000 + slots + at, 1), held, **changes)
            for at in range(count)
        ]

    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.nodes, self.claims)

    def decide(
        self, requests: Iterable[ScheduleRequest], scheduler: Scheduler | None = None
    ) -> list[ScheduleDecision]:
        return (scheduler or VectorScheduler()).schedule(list(requests), self.snapshot())

    def place(self, requests: Iterable[ScheduleRequest], scheduler: Scheduler | None = None) -> str:
        """The nodes in the requests' order, with "-" for those that get none."""
        made = self.decide(requests, scheduler)
        return " ".join(each.node if isinstance(each, AssignNode) else "-" for each in made)


def cluster(*names: str, cpu: float = 4) -> PlacingCluster:
    """Nodes that are all alike."""
    made = PlacingCluster()
    for name in names:
        made.node(name, cpu)
    return made


def zones(**nodes: str) -> PlacingCluster:
    """Nodes with their zones; an empty one is none."""
    made = PlacingCluster()
    for name, zone in nodes.items():
        made.node(name, **({"zone": zone} if zone else {}))
    return made
