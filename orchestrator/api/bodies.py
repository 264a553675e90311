"""The bodies that are neither a view (`model.views`) nor a manifest: what is asked and answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import ConfigDict

from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.node import Event, Leader, NodeStatus
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.process.problems import ProblemDetails


@dataclass(frozen=True, slots=True)
class WorkloadList:
    revision: int
    items: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class InstanceList:
    revision: int
    items: tuple[WorkloadInstance, ...]


@dataclass(frozen=True, slots=True)
class NodeList:
    revision: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class EventList:
    """The newest last."""

    revision: int
    items: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class ScaleRequest:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    replicas: int


@dataclass(frozen=True, slots=True)
class NodePatch:
    """What is left out stays. `labels` are added to those there are; null takes one away."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    availability: Literal["active", "cordoned"] | None = None
    is_declared_lost: bool | None = None
    labels: dict[str, str | None] = field(default_factory=dict)


class Outcome(StrEnum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Written:
    """What a write has come to, or with `dry_run` what it would.

    `revision` is that of the write; when nothing was written, the one that was looked at.
    `mod_revision` is the object's own, 0 when it is not there: what If-Match takes.
    `changes` has a line for each field: `replicas: 3 -> 5`.
    """

    revision: int
    outcome: Outcome
    mod_revision: int = 0
    generation: int = 0
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that was not done, and why."""

    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A key whose value cannot be read. Its last good version stays in force."""

    key: str
    reason: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """The cluster as this replica sees it.

    `silent_seconds` is for how long the store has said nothing to it; None: never yet.
    """

    replica: str
    address: str
    revision: int
    is_synced: bool
    silent_seconds: float | None
    leader: Leader | None
    workloads: int
    instances: dict[WorkloadInstanceStatus, int]
    nodes: dict[NodeStatus, int]
    waiting: tuple[Waiting, ...]
    damaged: tuple[DamagedRecord, ...]
    warnings: tuple[str, ...]


class WatchLineType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNC = "SYNC"
    """All changes up to `revision` have been told: a watch may be resumed from there."""
    ERROR = "ERROR"
    """The watch ends here, because of `problem`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """All that is left to say of an object that was deleted before this watch had seen it."""

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class WatchLine:
    """`object` is its last state for DELETED, and absent from SYNC and ERROR."""

    type: WatchLineType
    revision: int
    object: Workload | WorkloadInstance | Node | Event | Identity | None = None
    problem: ProblemDetails | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """`time` is RFC 3339 on the node's clock. `stream` is stdout, stderr, or `system` for what
    the API has to say itself: that a node cannot be reached."""

    instance: str
    container: str
    time: str
    stream: str
    text: str
