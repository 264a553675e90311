"""What a user wants: workloads, their containers, and how they are to be kept alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from orchestrator.model.container import (
    SAFE,
    Device,
    Mount,
    NetworkMode,
    PullPolicy,
    Security,
    SharedNamespace,
    Ulimit,
    Volume,
    VolumeKind,
    reaches_host,
)
from orchestrator.model.placement import ANYWHERE, Placement, PriorityClass
from orchestrator.model.resources import GPU, MILLI, NodeResources, Quantities, total

DEFAULT_NAMESPACE = "default"


class WorkloadKey(NamedTuple):
    """A workload's full name; printed as `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


class OnNodeLost(StrEnum):
    """What happens to an instance whose node cannot be reached. Of three things (it never runs
    twice, it is replaced by itself, it outlives an outage of etcd) each choice gives up one."""

    REPLACE = "replace"
    """At least once: a new attempt elsewhere after `lost_after_seconds`. The old one may run on
    beside it until its node is heard of again."""
    WAIT = "wait"
    """At most once: only after the agent confirms the stop, or a person declares the node lost.
    Nothing on the node ever stops it for that."""
    FENCE = "fence"
    """At most once, and replaced by itself: a node that is cut off for `lost_after_seconds` stops
    it, by a watchdog that does not share the agent's fate, and the leader replaces it when that
    must surely be over. The price: an outage of etcd that lasts so long stops it everywhere. It
    rests on the watchdog and on the node's clock: where there is no watchdog it is `wait`, one
    that is killed together with its agent stops nothing, and a machine that is paused as a whole
    for so long runs it for some milliseconds more when it goes on."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of a container. `host_port` None: the agent picks one and reports it.

    A plain process shares the node's network: it must listen on the port that it finds in the
    environment as `PORT` (first port), `PORT_<NAME>` and `PORT_<container_port>`.
    """

    container_port: int
    host_port: int | None = None
    protocol: Protocol = Protocol.TCP
    name: str = ""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One container. Without an `image`, `command` runs as a plain process on the node.

    Its request of the resource `gpu` is a number of whole devices, or a share of one (0.46), of
    the models in `gpu_model` if any are named. The containers of an instance share its devices.

    What comes after `gpu_model` is for images only. `ulimits` are by the lower-case names of
    setrlimit(2) without RLIMIT_ (`nofile`). `init` runs it under an init that reaps and passes
    signals on; `stdin` keeps its standard input open for `orc attach`, `tty` gives it a terminal.
    """

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env_vars: dict[str, str] = field(default_factory=dict)
    working_dir: str = ""
    ports: tuple[PortMapping, ...] = ()
    resource_requests: NodeResources = field(default_factory=NodeResources)
    resource_limits: NodeResources = field(default_factory=NodeResources)
    gpu_model: tuple[str, ...] = ()
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    security: Security = SAFE
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    ulimits: dict[str, Ulimit] = field(default_factory=dict)
    pids_limit: int | None = None
    init: bool = False
    stdin: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """GPUs that one instance asks for: `count` devices, and `milli` thousandths of each: less than
    1000 only of a single one. `models` empty: any model will do."""

    milli: int
    count: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Back-off between attempts that fail in a row.

    The first failure is made good at once; the second waits `backoff_seconds`, and each further
    one twice as long, up to `max_backoff_seconds`. An attempt that has lived for
    `reset_after_seconds` sets the count back to none.
    """

    backoff_seconds: float = 10.0
    max_backoff_seconds: float = 300.0
    reset_after_seconds: float = 600.0

    def delay_seconds(self, failures: int) -> float:
        """How long to wait after the `failures`-th failure in a row (from 1)."""
        if failures <= 1:
            return 0.0
        doublings = min(failures - 2, 32)
        return min(self.backoff_seconds * 2.0**doublings, self.max_backoff_seconds)


DEFAULT_RESTART = RestartPolicy()


@dataclass(frozen=True, slots=True)
class WorkloadTemplate:
    """What one instance is made of; immutable once written under its generation.

    The last four are for images only. The containers share the instance's network in any case,
    and what `shared` names besides.
    """

    containers: tuple[ContainerConfig, ...]
    stop_grace_seconds: float = 10.0
    placement: Placement = ANYWHERE
    volumes: tuple[Volume, ...] = ()
    network: NetworkMode = NetworkMode.BRIDGE
    shared: tuple[SharedNamespace, ...] = ()
    user_namespace: bool = False

    def quantities(self) -> Quantities:
        return total(each.resource_requests.quantities() for each in self.containers)

    def gpu_need(self) -> GpuNeed | None:
        """None without any. A sum above one device is rounded up to whole ones."""
        milli = self.quantities().get(GPU, 0)
        if milli <= 0:
            return None
        allowed = next((each.gpu_model for each in self.containers if each.gpu_model), ())
        if milli < MILLI:
            return GpuNeed(milli, 1, allowed)
        return GpuNeed(MILLI, -(-milli // MILLI), allowed)

    def host_ports(self) -> frozenset[tuple[str, int]]:
        """The fixed ports, as (protocol, port), that an instance needs for itself on its node."""
        return frozenset(
            (port.protocol.value, port.host_port)
            for container in self.containers
            for port in container.ports
            if port.host_port is not None
        )

    def runtime(self) -> str:
        """Which kind of runtime it needs: `oci` if any container has an image."""
        return "oci" if any(each.image for each in self.containers) else "process"

    def is_privileged(self) -> bool:
        """Whether it could do on its node what root can do there, which few nodes allow. In a user
        namespace, no capability reaches further than that."""
        return any(
            each.security.privileged
            or (
                not self.user_namespace
                and reaches_host(each.security.add_capabilities, self.network)
            )
            for each in self.containers
        )

    def host_paths(self) -> frozenset[str]:
        """The paths of the node that it is given, devices among them: the node must allow each.
        What is privileged has all devices anyway."""
        binds = {each.source for each in self.volumes if each.kind is VolumeKind.BIND}
        confined = (each for each in self.containers if not each.security.privileged)
        return frozenset(binds | {device.path for each in confined for device in each.devices})

    def local_volumes(self) -> tuple[str, ...]:
        """The names of the volumes whose data stay on their node, and each slot with its own."""
        return tuple(each.name for each in self.volumes if each.kind is VolumeKind.LOCAL)


@dataclass(frozen=True, slots=True)
class WorkloadDefinition:
    """What a user asks for.

    `gang`: its first instances are placed all at once or not at all. `min_available`: how many
    must run before one more may be moved, evicted or displaced; None sets no such budget.
    """

    name: str
    containers: tuple[ContainerConfig, ...]
    namespace: str = DEFAULT_NAMESPACE
    replicas: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    stop_grace_seconds: float = 10.0
    restart: RestartPolicy = DEFAULT_RESTART
    on_node_lost: OnNodeLost = OnNodeLost.REPLACE
    lost_after_seconds: float = 30.0
    placement: Placement = ANYWHERE
    priority: PriorityClass = PriorityClass.NORMAL
    gang: bool = False
    min_available: int | None = None
    volumes: tuple[Volume, ...] = ()
    network: NetworkMode = NetworkMode.BRIDGE
    shared: tuple[SharedNamespace, ...] = ()
    user_namespace: bool = False

    @property
    def key(self) -> WorkloadKey:
        return WorkloadKey(self.namespace, self.name)

    def template(self) -> WorkloadTemplate:
        """The part whose change makes a new generation; scaling does not."""
        return WorkloadTemplate(
            self.containers,
            self.stop_grace_seconds,
            self.placement,
            self.volumes,
            self.network,
            self.shared,
            self.user_namespace,
        )


@dataclass(frozen=True, slots=True)
class DesiredWorkload:
    """The record under `desired/workloads/`. `generation` counts the template's changes."""

    spec: WorkloadDefinition
    generation: int


@dataclass(frozen=True, slots=True)
class WorkloadStatus:
    """The record under `observed/workloads/`, by the leader.

    `attempt_floor` is the highest attempt of any slot that was given up: a slot that is taken
    again starts above it, so that no instance name is ever used twice. `waiting` says, a
    sentence each, what was not done and why.
    """

    generation: int
    desired: int = 0
    running: int = 0
    pending: int = 0
    failed: int = 0
    stopping: int = 0
    updated: int = 0
    attempt_floor: int = 0
    waiting: tuple[str, ...] = ()
