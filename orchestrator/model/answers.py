"""What the API answers beside the views: written by its servers, read by its client."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.explanation import Explanation
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.node import Event, Leader, NodeStatus


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
class Why:
    """Why a workload or an instance is as it is.

    `reasons` are what is known of its present state, the last decision first. `explanation` is
    what the nodes would say to one more like it now; None if nothing is known of its kind any
    more. `events` are those that tell of it, the newest last.
    """

    revision: int
    subject: str
    reasons: tuple[str, ...]
    explanation: Explanation | None
    events: tuple[Event, ...] = ()


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
    """The cluster as one replica sees it; counts by status.

    `silent_seconds` is for how long the store has said nothing to it; None: never yet.
    """

    replica: str
    address: str
    revision: int
    is_synced: bool
    leader: Leader | None
    workloads: int
    silent_seconds: float | None = None
    instances: dict[WorkloadInstanceStatus, int] = field(default_factory=dict)
    nodes: dict[NodeStatus, int] = field(default_factory=dict)
    waiting: tuple[Waiting, ...] = ()
    damaged: tuple[DamagedRecord, ...] = ()
    warnings: tuple[str, ...] = ()


class WatchType(StrEnum):
    """Of a line of a watch."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNC = "SYNC"
    """All changes up to its revision have been told: a watch may be resumed from there."""
    ERROR = "ERROR"
    """The watch ends here."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is: all that is left to say of one that was deleted before the watch had
    seen it. Events have no name."""

    name: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of a log. `time` is RFC 3339 on the node's clock, and `text` has no newline.
    `stream` is stdout, stderr, or `system` for what the server has to say itself: that a node
    cannot be reached."""

    instance: str
    container: str
    time: str
    stream: str
    text: str
