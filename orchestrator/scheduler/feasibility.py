"""Does it fit? The one answer that schedulers, planner and checks share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.model.resources import shown
from orchestrator.scheduler.protocol import (
    AssignNode,
    NodeSnapshot,
    NoPlacement,
    ScheduleDecision,
    ScheduleRequest,
)


class Room:
    """One node with what the batch has already placed on it: the only thing that is mutated."""

    def __init__(self, node: NodeSnapshot) -> None:
        self.node = node
        self.used = dict(node.used)
        self.used_ports = set(node.used_ports)
        self.instances = dict(node.instances)
        self.placed = sum(node.instances.values())

    def refusal(self, request: ScheduleRequest) -> str:
        """Why this node cannot take the request now; empty if it can."""
        if self.node.refusal:
            return self.node.refusal
        if request.runtime not in self.node.runtimes:
            return f"has no {request.runtime} runtime"
        if request.host_ports and (taken := sorted(request.host_ports & self.used_ports)):
            return f"host port {taken[0][1]}/{taken[0][0]} is taken"
        return self._shortage(request)

    def _shortage(self, request: ScheduleRequest) -> str:
        """The hot path: asked of every node for every workload that is placed."""
        has, used = self.node.allocatable, self.used
        short = [
            resource
            for resource, wanted in request.quantities.items()
            if wanted > has.get(resource, 0) - used.get(resource, 0)
        ]
        if not short:
            return ""
        resource = min(short)
        wanted, free = request.quantities[resource], self.free(resource)
        return f"lacks {shown(resource, wanted - free)} (free: {shown(resource, free)})"

    def free(self, resource: str) -> int:
        return self.node.allocatable.get(resource, 0) - self.used.get(resource, 0)

    def take(self, request: ScheduleRequest) -> None:
        for resource, amount in request.quantities.items():
            self.used[resource] = self.used.get(resource, 0) + amount
        self.used_ports |= request.host_ports
        workload = (request.instance.namespace, request.instance.workload)
        self.instances[workload] = self.instances.get(workload, 0) + 1
        self.placed += 1


def impossible(request: ScheduleRequest) -> str:
    """Why no node could ever take the request; empty for a sane one."""
    for resource in sorted(request.quantities):
        if request.quantities[resource] < 0:
            return f"asks for a negative amount of {resource}"
    return ""


def shape(request: ScheduleRequest) -> tuple[object, ...]:
    """Requests of one shape have the same answer for any node at any one time."""
    return (
        request.instance.workload_key,
        tuple(request.quantities.items()),
        request.host_ports,
        request.runtime,
        request.avoid,
    )


MAX_REASONS = 5
"""Of `no_placement`: each of hundreds of nodes may lack another amount, and it is all written
down for each workload that waits."""


def no_placement(refusals: Mapping[str, str]) -> NoPlacement:
    """All nodes' refusals, counted: `3 nodes: 2 lack memory...; 1 is cordoned (n3)`."""
    if not refusals:
        return NoPlacement("there is no node yet", {})
    nodes_by_reason: dict[str, list[str]] = {}
    for node in sorted(refusals):
        nodes_by_reason.setdefault(refusals[node], []).append(node)
    parts = [
        f"{_listed(nodes)}: {reason}"
        for reason, nodes in sorted(
            nodes_by_reason.items(), key=lambda pair: (-len(pair[1]), pair[1])
        )
    ]
    if len(parts) > MAX_REASONS:
        parts[MAX_REASONS:] = [f"and {len(parts) - MAX_REASONS} more reasons"]
    count = len(refusals)
    noun = "node" if count == 1 else "nodes"
    return NoPlacement(f"none of {count} {noun} fits: " + "; ".join(parts), dict(refusals))


def _listed(nodes: list[str]) -> str:
    if len(nodes) <= 3:
        return ", ".join(nodes)
    return f"{len(nodes)} nodes ({', '.join(nodes[:2])}, ...)"


def place(request: ScheduleRequest, chosen: Room, reason: str) -> ScheduleDecision:
    chosen.take(request)
    return AssignNode(chosen.node.name, reason)


def rooms(nodes: Iterable[NodeSnapshot]) -> list[Room]:
    """One per node, by name, so that no order of the input shows in the answer."""
    return [Room(node) for node in sorted(nodes, key=lambda node: node.name)]
