"""`orc describe`: everything about one thing, in sections for people to read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.cli.columns import (
    Setting,
    age_of,
    columns_of,
    desired_replicas,
    gpus_text,
    pairs_text,
    ports_text,
    reason_of,
    resources_text,
    time_text,
)
from orchestrator.cli.kinds import Kind
from orchestrator.cli.placement_text import gpu_need_text, placement_lines
from orchestrator.cli.tables import Column, Paint, format_fields, format_table, lines_of
from orchestrator.model.instance import ContainerObservation
from orchestrator.model.manifest import to_manifest
from orchestrator.model.node import Event
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.model.workload import Protocol, WorkloadDefinition

INDENT = "  "


def describe_workload(
    workload: Workload,
    instances: Sequence[WorkloadInstance],
    events: Sequence[Event],
    setting: Setting,
    paint: Paint | None = None,
) -> str:
    fields = [
        ("Name", workload.name),
        ("Namespace", workload.namespace),
        ("Generation", str(workload.generation)),
        ("Status", workload_status(workload)),
        ("Waiting", "\n".join(workload.status.waiting)),
        *_conditions(workload),
        *(_wishes(workload.spec) if workload.spec else ()),
    ]
    spec = to_manifest(workload.spec) if workload.spec else ""
    return sections(
        ("", format_fields(fields)),
        ("Spec", spec.rstrip("\n")),
        ("Instances", _table(_instance_columns(setting), instances, paint)),
        ("Events", _events(events, setting)),
    )


def _wishes(spec: WorkloadDefinition) -> Iterator[tuple[str, str]]:
    """How it is to be placed, and what may be done to it for the sake of others."""
    yield "Priority", spec.priority.value
    yield "Gang", "placed all at once or not at all" if spec.gang else "no"
    least = spec.min_available
    yield "Budget", "none" if least is None else f"{least} must run before one more is moved"
    yield "GPUs", gpu_need_text(spec.template().gpu_need())
    yield "Placement", "\n".join(placement_lines(spec.placement))


def _conditions(thing: Workload | Node) -> Iterator[tuple[str, str]]:
    """Which most have none of, ever."""
    if thing.conditions:
        yield "Conditions", "\n".join(thing.conditions)


def workload_status(workload: Workload) -> str:
    """`3 of 3 replicas run, 1 of them of an older generation; 2 stopping`."""
    status, wanted = workload.status, desired_replicas(workload)
    told = f"{status.running} of {wanted} replicas run"
    if (older := status.running - status.updated) > 0:
        told += f", {older} of them of an older generation"
    if workload.is_deleting:
        told = f"being deleted: {status.running} instances run"
    others = {"pending": status.pending, "failed": status.failed, "stopping": status.stopping}
    return "; ".join([told, *(f"{count} {word}" for word, count in others.items() if count)])


def describe_instance(
    instance: WorkloadInstance,
    events: Sequence[Event],
    setting: Setting,
    paint: Paint | None = None,
) -> str:
    fields = [
        ("Name", instance.name),
        ("Workload", f"{instance.namespace}/{instance.workload}"),
        ("Slot", str(instance.slot)),
        ("Attempt", f"{instance.attempt}, after {instance.failures} failures in a row"),
        ("Generation", str(instance.generation)),
        ("Node", instance.node),
        ("Status", instance.status.value),
        ("Wanted", instance.wanted.value),
        ("Reason", instance.reason),
        ("Placed because", instance.assigned_because),
        ("GPUs", ", ".join(map(str, instance.gpus))),
        ("Restarts", _restarts(instance)),
        ("Starts after", "\n".join(instance.after)),
        ("Gives way to", instance.displaced_by),
        ("Started", _moment(instance.started_at)),
        ("Finished", _moment(instance.finished_at)),
        ("Ran for", age_of(instance, setting.now)),
        ("Address", instance.address),
        ("Ports", ports_text(instance, setting.hosts).replace(",", "\n")),
        ("URLs", "\n".join(urls_of(instance, setting.hosts))),
    ]
    return sections(
        ("", format_fields(fields)),
        ("Containers", _table(_CONTAINER_COLUMNS, instance.containers, paint)),
        ("Events", _events(events, setting)),
    )


def _restarts(instance: WorkloadInstance) -> str:
    """What happened while nobody could be told, the newest last."""
    if not instance.restarts:
        return ""
    lines = (f"{_moment(each.finished_at)} {each.reason}".strip() for each in instance.exits)
    return "\n".join((f"{instance.restarts} times, while it was cut off", *lines))


def describe_node(
    node: Node,
    instances: Sequence[WorkloadInstance],
    events: Sequence[Event],
    setting: Setting,
    paint: Paint | None = None,
) -> str:
    fields = [
        ("Name", node.name),
        ("Hostname", node.hostname),
        ("Address", node.address),
        ("Agent's pid", str(node.pid or "-")),
        ("Status", node.status.value),
        ("Reason", node.reason),
        *_conditions(node),
        ("Availability", node.availability.value),
        ("Declared lost", "yes" if node.is_declared_lost else "no"),
        ("Runtimes", ", ".join(node.runtimes)),
        ("Versions", pairs_text(node.versions).replace(",", "\n")),
        ("Labels", pairs_text(node.labels).replace(",", "\n")),
        ("Taints", "\n".join(map(str, node.taints))),
        ("GPUs", gpus_text(node.gpus).replace(",", "\n")),
        ("Paths to bind", "\n".join(node.allowed_binds)),
        ("Privileged", "allowed" if node.allows_privileged else "not allowed"),
        ("Watchdog", "at work" if node.has_watchdog else ""),
        ("Capacity", resources_text(node.capacity)),
        ("Allocatable", resources_text(node.allocatable)),
    ]
    return sections(
        ("", format_fields(fields)),
        ("Instances", _table(_instance_columns(setting), instances, paint)),
        ("Events", _events(events, setting)),
    )


def urls_of(instance: WorkloadInstance, hosts: Mapping[str, str]) -> Iterator[str]:
    """Where each TCP port would answer, should it speak HTTP."""
    host = hosts.get(instance.node, "")
    bracketed = f"[{host}]" if ":" in host else host
    for port in instance.ports if host else ():
        if port.protocol is Protocol.TCP:
            yield f"http://{bracketed}:{port.host_port}"


_CONTAINER_COLUMNS: Sequence[Column[ContainerObservation]] = (
    Column("NAME", lambda container: container.name),
    Column("PID", lambda container: _number(container.pid)),
    Column("EXIT-CODE", lambda container: _number(container.exit_code)),
    Column("ID", lambda container: container.id),
    Column("IMAGE", lambda container: container.image),
    Column("REASON", lambda container: container.reason),
)


def _instance_columns(setting: Setting) -> Sequence[Column[WorkloadInstance]]:
    return (
        Column("NAME", lambda instance: instance.name),
        Column("STATUS", lambda instance: instance.status.value),
        Column("NODE", lambda instance: instance.node),
        Column("AGE", lambda instance: age_of(instance, setting.now)),
        Column("PORTS", lambda instance: ports_text(instance, {})),
        Column("URLS", lambda instance: ",".join(urls_of(instance, setting.hosts))),
        Column("REASON", reason_of),
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _moment(seconds: float | None) -> str:
    return "" if seconds is None else time_text(seconds)


def _events(events: Sequence[Event], setting: Setting) -> str:
    return _table(columns_of(Kind.EVENTS, setting), events)


def _table(columns: Sequence[Column[Any]], rows: Sequence[Any], paint: Paint | None = None) -> str:
    return format_table(lines_of(columns, rows), paint) if rows else "none"


def sections(*sections: tuple[str, str]) -> str:
    parts = []
    for title, text in sections:
        body = "\n".join(INDENT + line for line in text.split("\n")) if title else text
        if body.strip():
            parts.append(f"{title}:\n{body}" if title else body)
    return "\n\n".join(parts)
