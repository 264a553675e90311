"""`Scheduler`: requests and a snapshot of the nodes in, one decision for each request out.

The same input gives the same decisions, whatever its order was in memory. A request is served
in its turn; each decision sees the nodes as the earlier ones of the batch leave them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.model.instance import InstanceName
from orchestrator.model.resources import Quantities

HostPort = tuple[str, int]
"""(protocol, port)"""


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """One instance that wants a node. `quantities` are milli-units.

    `avoid` names the node on which the slot's last attempt failed: others are preferred.
    """

    instance: InstanceName
    quantities: Quantities = field(default_factory=dict)
    host_ports: frozenset[HostPort] = frozenset()
    runtime: str = "process"
    avoid: str = ""


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node as the scheduler sees it.

    `allocatable` and `used` are milli-units; `used` and `used_ports` count every assignment
    that is not confirmed gone. `refusal` is empty if the node takes instances at all, else says
    why not ("is cordoned"). `instances` counts them by workload, for spreading.
    """

    name: str
    allocatable: Quantities
    used: Quantities = field(default_factory=dict)
    used_ports: frozenset[HostPort] = frozenset()
    runtimes: frozenset[str] = frozenset({"process"})
    refusal: str = ""
    instances: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssignNode:
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """No node takes it now. `refusals` has each node's own reason; `reason` counts them."""

    reason: str
    refusals: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Error:
    """No node could ever take it, whatever becomes free: the request itself is wrong."""

    reason: str


ScheduleDecision = AssignNode | NoPlacement | Error


class Scheduler(Protocol):
    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeSnapshot]
    ) -> list[ScheduleDecision]:
        """One decision for each request, in the requests' order."""
        ...
