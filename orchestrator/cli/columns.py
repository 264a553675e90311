"""What the tables show of each kind of object. Pure: the present comes from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.cli.kinds import Kind
from orchestrator.cli.tables import NOTHING, Column

if TYPE_CHECKING:  # `model.views` is slow to import, and `orc --help` needs none of it
    from orchestrator.model.instance import PortBinding
    from orchestrator.model.node import Event
    from orchestrator.model.resources import NodeResources
    from orchestrator.model.views import Node, Workload, WorkloadInstance


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row needs to know beside its object: the time (seconds since 1970), and the host
    of each node's address."""

    now: float
    hosts: Mapping[str, str] = field(default_factory=dict)
    shows_namespace: bool = False


def columns_of(kind: Kind, setting: Setting) -> Sequence[Column[Any]]:
    if kind is Kind.WORKLOADS:
        return _with_namespace(_WORKLOAD_COLUMNS, setting)
    if kind is Kind.INSTANCES:
        return _instance_columns(setting)
    if kind is Kind.EVENTS:
        return _with_namespace(_EVENT_COLUMNS, setting)
    return _NODE_COLUMNS


def _with_namespace(columns: Sequence[Column[Any]], setting: Setting) -> Sequence[Column[Any]]:
    if not setting.shows_namespace:
        return columns
    namespace: Column[Any] = Column("NAMESPACE", lambda item: item.namespace)
    return [namespace, *columns]


def _waiting(workload: Workload) -> str:
    told = "being deleted" if workload.is_deleting else ""
    reasons = (*workload.conditions[:1], *workload.status.waiting[:1])
    return "; ".join(filter(None, (told, *reasons)))


def desired_replicas(workload: Workload) -> int:
    """What the user wants now, which the leader may not have seen yet."""
    return workload.spec.replicas if workload.spec else 0


def _priority(workload: Workload) -> str:
    return workload.spec.priority.value if workload.spec else ""


def _container_names(workload: Workload) -> str:
    return ",".join(each.name for each in workload.spec.containers) if workload.spec else ""


_WORKLOAD_COLUMNS: Sequence[Column[Workload]] = (
    Column("NAME", lambda workload: workload.name),
    Column("DESIRED", lambda workload: str(desired_replicas(workload))),
    Column("RUNNING", lambda workload: str(workload.status.running)),
    Column("UPDATED", lambda workload: str(workload.status.updated)),
    Column("PENDING", lambda workload: str(workload.status.pending), is_wide=True),
    Column("FAILED", lambda workload: str(workload.status.failed), is_wide=True),
    Column("STOPPING", lambda workload: str(workload.status.stopping), is_wide=True),
    Column("GENERATION", lambda workload: str(workload.generation), is_wide=True),
    Column("PRIORITY", _priority, is_wide=True),
    Column("CONTAINERS", _container_names, is_wide=True),
    Column("WAITING", _waiting),
)


def _instance_columns(setting: Setting) -> Sequence[Column[WorkloadInstance]]:
    return (
        Column("NAME", lambda instance: instance.name),
        Column("STATUS", lambda instance: instance.status.value),
        Column("NODE", lambda instance: instance.node),
        Column("PORTS", lambda instance: ports_text(instance, setting.hosts)),
        Column("AGE", lambda instance: age_of(instance, setting.now)),
        Column("GENERATION", lambda instance: str(instance.generation), is_wide=True),
        Column("FAILURES", lambda instance: str(instance.failures), is_wide=True),
        Column("PIDS", _pids, is_wide=True),
        Column("GPUS", lambda instance: ",".join(map(str, instance.gpus)), is_wide=True),
        Column("ADDRESS", lambda instance: instance.address, is_wide=True),
        Column("REASON", reason_of),
    )


def reason_of(instance: WorkloadInstance) -> str:
    """Why it is as it is. What runs needs no reason; until its agent says one, the leader's."""
    is_running = instance.status.value == "Running"
    return instance.reason or ("" if is_running else instance.assigned_because)


def _pids(instance: WorkloadInstance) -> str:
    return ",".join(str(each.pid) for each in instance.containers if each.pid is not None)


def ports_text(instance: WorkloadInstance, hosts: Mapping[str, str]) -> str:
    host = hosts.get(instance.node, "")
    return ",".join(port_text(port, host) for port in instance.ports)


def port_text(port: PortBinding, host: str) -> str:
    """`127.0.0.1:21000->8080/tcp`, without the host where it is not known."""
    where = f"[{host}]:" if ":" in host else f"{host}:" if host else ""
    return f"{where}{port.host_port}->{port.container_port}/{port.protocol.value}"


def hosts_of(nodes: Sequence[Node]) -> dict[str, str]:
    """Where each node is reached: the host of its agent's address."""
    return {node.name: host for node in nodes if (host := _host(node.address))}


def _host(address: str) -> str:
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


def age_of(instance: WorkloadInstance, now: float) -> str:
    """How long it has run or, when it has finished, how long it did."""
    if instance.started_at is None:
        return NOTHING
    until = now if instance.finished_at is None else instance.finished_at
    return duration_text(until - instance.started_at)


def duration_text(seconds: float) -> str:
    """The largest unit of which there are at least two: `119s`, `47h`, `3d`."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def time_text(seconds: float) -> str:
    """A moment in UTC, as RFC 3339 writes it."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return NOTHING
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


_NODE_COLUMNS: Sequence[Column[Node]] = (
    Column("NAME", lambda node: node.name),
    Column("STATUS", lambda node: node.status.value),
    Column("AVAILABILITY", lambda node: node.availability.value),
    Column("INSTANCES", lambda node: str(node.instances)),
    Column("CPU", lambda node: f"{node.allocatable.cpu_cores:g}"),
    Column("MEMORY", lambda node: f"{node.allocatable.memory_mb:.0f}MB"),
    Column("DISK", lambda node: f"{node.allocatable.disk_mb:.0f}MB", is_wide=True),
    Column("CUSTOM", lambda node: pairs_text(node.allocatable.custom), is_wide=True),
    Column("GPUS", lambda node: gpus_text(node.gpus), is_wide=True),
    Column("RUNTIMES", lambda node: ",".join(node.runtimes)),
    Column("VERSIONS", lambda node: pairs_text(node.versions), is_wide=True),
    Column("ADDRESS", lambda node: node.address),
    Column("HOSTNAME", lambda node: node.hostname, is_wide=True),
    Column("LABELS", lambda node: pairs_text(node.labels), is_wide=True),
    Column("TAINTS", lambda node: ",".join(map(str, node.taints)), is_wide=True),
    Column("REASON", lambda node: "; ".join(filter(None, (node.reason, *node.conditions[:1])))),
)


def gpus_text(models: Sequence[str]) -> str:
    """How many there are of each model: `A10=1,T4=2`."""
    return pairs_text(Counter(models))


def pairs_text(pairs: Mapping[str, object]) -> str:
    return ",".join(f"{name}={_number(value)}" for name, value in sorted(pairs.items()))


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def resources_text(resources: NodeResources) -> str:
    """`2 cores, 4000 MB of memory, 1 gpu`."""
    from orchestrator.model.resources import shown

    return ", ".join(shown(name, milli) for name, milli in resources.quantities().items())


_EVENT_COLUMNS: Sequence[Column[Event]] = (
    Column("TIME", lambda event: time_text(event.at)),
    Column("KIND", lambda event: event.kind),
    Column("SUBJECT", lambda event: event.subject),
    Column("BY", lambda event: event.by),
    Column("REASON", lambda event: event.reason),
)
