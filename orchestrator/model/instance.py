"""An instance: one attempt to run a workload's containers in one slot on one node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from orchestrator.model.errors import StateError
from orchestrator.model.workload import DEFAULT_RESTART, Protocol, RestartPolicy, WorkloadKey


class InstanceName(NamedTuple):
    """`<namespace>.<workload>.<slot>.<attempt>`: never used twice in a workload's life."""

    namespace: str
    workload: str
    slot: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.namespace}.{self.workload}.{self.slot}.{self.attempt}"

    @property
    def workload_key(self) -> WorkloadKey:
        return _workload_key(self.namespace, self.workload)

    @classmethod
    def parse(cls, text: str) -> InstanceName:
        """Raises `StateError` for anything else than four parts, the last two numbers."""
        parts = text.split(".")
        if len(parts) != 4 or not (_is_known_counter(parts[2]) and _is_known_counter(parts[3])):
            raise StateError(
                f"{text!r} is no instance name: it must be <namespace>.<workload>.<slot>.<attempt>"
            )
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))


def is_counter(text: str) -> bool:
    """A number written the one way that `str` writes it, so that no two names mean the same."""
    return re.fullmatch(r"0|[1-9][0-9]{0,8}", text) is not None


_is_known_counter = lru_cache(65_536)(is_counter)


@lru_cache(65_536)
def _workload_key(namespace: str, workload: str) -> WorkloadKey:
    """One for all instances of a workload: keys are parsed by the hundred thousand."""
    return WorkloadKey(namespace, workload)


class WorkloadInstanceStatus(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    TERMINATING = "Terminating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"
    """Not written by anybody: what others say of an instance whose node cannot be reached."""

    @property
    def is_finished(self) -> bool:
        return self in _FINISHED


_FINISHED = frozenset({WorkloadInstanceStatus.SUCCEEDED, WorkloadInstanceStatus.FAILED})

NEXT: dict[WorkloadInstanceStatus, frozenset[WorkloadInstanceStatus]] = {
    WorkloadInstanceStatus.PENDING: frozenset(
        {
            WorkloadInstanceStatus.RUNNING,
            WorkloadInstanceStatus.TERMINATING,
            *_FINISHED,
        }
    ),
    WorkloadInstanceStatus.RUNNING: frozenset({WorkloadInstanceStatus.TERMINATING, *_FINISHED}),
    WorkloadInstanceStatus.TERMINATING: _FINISHED,
    WorkloadInstanceStatus.SUCCEEDED: frozenset(),
    WorkloadInstanceStatus.FAILED: frozenset(),
}
"""The table that moves an instance: forward only."""


class Wanted(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


class ExitCause(StrEnum):
    """Why an instance is not running, as far as the planner must tell them apart."""

    NONE = ""
    EXITED = "exited"
    START_FAILED = "start_failed"
    STOPPED = "stopped"
    NODE_SHUTDOWN = "node_shutdown"
    """The node was shut down in good order: a new attempt owes no back-off."""
    FENCED = "fenced"
    """Its node was cut off for too long and has stopped it: a new attempt owes no back-off."""

    @property
    def is_nodes(self) -> bool:
        """Whether it says nothing against the instance itself."""
        return self in (ExitCause.NODE_SHUTDOWN, ExitCause.FENCED)


@dataclass(frozen=True, slots=True)
class FenceTerms:
    """What a node promises of an instance whose workload says `on_node_lost: fence`: cut off for
    `after_seconds`, its watchdog stops it with a grace of `grace_seconds`."""

    after_seconds: float
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Assignment:
    """The record under `desired/instances/<node>/<instance>`, by the leader.

    `failures` counts the attempts in this slot that failed in a row before this one, and
    `failed_on` has their nodes. `gpus` are the indices of the devices that it is given. It starts
    only when the instances named in `after` do not run on its node any more: they give way to it.
    `displaced_by` names whom a stopped one gives way to.

    `restart`, `fence` and `waits` are the workload's own as they were when it was placed, for a
    node that is cut off: by what back-off to restart what crashes, when to stop it, if ever, and
    whether an agent that has had no word from the store since it started leaves it alone
    (`on_node_lost: wait`: people may have given it up, as nothing ran there). They hold for the
    attempt's whole life: what a node has not seen changed it goes on promising.
    """

    namespace: str
    workload: str
    generation: int
    slot: int
    attempt: int
    wanted: Wanted
    reason: str
    failures: int = 0
    failed_on: tuple[str, ...] = ()
    gpus: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    displaced_by: str = ""
    restart: RestartPolicy = DEFAULT_RESTART
    fence: FenceTerms | None = None
    waits: bool = False

    @property
    def name(self) -> InstanceName:
        return InstanceName(self.namespace, self.workload, self.slot, self.attempt)


@dataclass(frozen=True, slots=True)
class Move:
    """The record under `desired/moves/<node>/<instance>`, by people through the API: the instance
    shall leave its node. `to` is the node that its successor should have; empty: the best one."""

    reason: str
    to: str = ""


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A port as it really is: where on the node `container_port` is reached."""

    container: str
    container_port: int
    host_port: int
    protocol: Protocol = Protocol.TCP
    name: str = ""


@dataclass(frozen=True, slots=True)
class ContainerObservation:
    """`exit_code` is 128 + n for signal n; None while it runs or when nobody saw it end. `image` is
    the pinned reference of what it was made from; empty for a plain process."""

    name: str
    id: str = ""
    pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    image: str = ""
    is_oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class PastExit:
    """How a container ended that its node has restarted. `finished_at`: seconds since 1970."""

    container: str
    reason: str
    exit_code: int | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class InstanceObservation:
    """The record under `observed/instances/<node>/<instance>`, by that node's agent. `address` is
    its own on the node's network; empty if it has the node's, or none.

    `restarts` counts how often its node has restarted it while it was cut off, and `exits` tells
    of the last of them, the newest last.

    Times are seconds since 1970 on the node's own clock; only their difference means anything
    to anybody else. `assignment` is the create_revision of the assignment that it answers.
    """

    status: WorkloadInstanceStatus
    assignment: int = 0
    reason: str = ""
    cause: ExitCause = ExitCause.NONE
    ports: tuple[PortBinding, ...] = ()
    containers: tuple[ContainerObservation, ...] = ()
    started_at: float | None = None
    finished_at: float | None = None
    address: str = ""
    restarts: int = 0
    exits: tuple[PastExit, ...] = ()

    @property
    def lived_seconds(self) -> float:
        """How long it ran, on its node's own clock; 0 when it never did."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return max(0.0, self.finished_at - self.started_at)
