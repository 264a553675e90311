"""Nodes: what people say of them, what their agents report, and whether they are alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.placement import Taint
from orchestrator.model.resources import NodeResources


class NodeStatus(StrEnum):
    READY = "Ready"
    NOT_READY = "NotReady"
    """Its session lives, but its runtime does not work."""
    UNKNOWN = "Unknown"
    """Its session has ended, not long ago."""
    DOWN = "Down"
    """Its session ended long ago, or a person has declared it lost."""


class Availability(StrEnum):
    ACTIVE = "active"
    CORDONED = "cordoned"
    """Nothing new is placed; what runs stays."""
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class DesiredNode:
    """The record under `desired/nodes/<node>`, by people through the API.

    `is_declared_lost`: a person's word that nothing runs there any more; it releases instances
    whose workload says `on_node_lost: wait`. It counts until the node has a session again.
    """

    availability: Availability = Availability.ACTIVE
    labels: dict[str, str] = field(default_factory=dict)
    is_declared_lost: bool = False
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The record under `observed/nodes/<node>`, by that node's agent.

    `address` is the agent's HTTP address; `runtimes` holds `process` and, where one is found,
    `oci`. `gpus` has the model of each device, by its index; `images` those that are there
    already, in the normal form. `problem` is empty while the runtime works. `allowed_binds` are the
    paths of the node that containers may be given, each with all below it, devices included.
    `has_watchdog`: a watchdog is at work there, which keeps the promises of `FenceTerms`.
    """

    address: str
    capacity: NodeResources
    allocatable: NodeResources
    runtimes: tuple[str, ...] = ("process",)
    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hostname: str = ""
    problem: str = ""
    gpus: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    allowed_binds: tuple[str, ...] = ()
    allows_privileged: bool = False
    has_watchdog: bool = False


@dataclass(frozen=True, slots=True)
class NodeSession:
    """The record under `observed/sessions/<node>`, on the agent's lease.

    `agent_id` is drawn once for each data directory: it tells an agent that comes back from a
    second one that has been given the same name.
    """

    agent_id: str
    pid: int = 0
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Leader:
    """The record under `leader`, on the leading controller's lease."""

    replica: str
    address: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A record under `events/`: what happened to `subject`, and why. `at`: seconds since 1970."""

    at: float
    kind: str
    subject: str
    reason: str
    by: str
    namespace: str = ""
