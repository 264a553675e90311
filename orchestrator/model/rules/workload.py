"""The rules that a workload's values keep, whoever wrote them.

Manifests, API bodies and records that people have edited are held to the same ones. The bounds
are far above what makes sense and far below what would break arithmetic, etcd or the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import fields

from orchestrator.model.problems import Path, path_text
from orchestrator.model.rules.container import isolation_faults
from orchestrator.model.rules.faults import (
    Fault,
    no_dns_label,
    outside,
    repeated,
    unfit_labels,
    unfit_text,
)
from orchestrator.model.rules.gpus import gpu_faults
from orchestrator.model.rules.placement import placement_faults
from orchestrator.model.rules.resources import over_limit, resource_faults
from orchestrator.model.rules.volumes import export_faults, single_export_faults
from orchestrator.model.workload import (
    ContainerConfig,
    PortMapping,
    RestartPolicy,
    WorkloadDefinition,
    WorkloadTemplate,
)

MAX_REPLICAS = 100_000
MAX_GANG = 50
"""Replicas of a gang: they are placed in one transaction."""
MAX_CONTAINERS = 100
MAX_PORTS = 100
DAY_SECONDS = 86_400

BOUNDS: dict[str, tuple[float, float]] = {
    "replicas": (0, MAX_REPLICAS),
    "min_available": (0, MAX_REPLICAS),
    "stop_grace_seconds": (0, DAY_SECONDS),
    "lost_after_seconds": (0, 7 * DAY_SECONDS),
    "backoff_seconds": (0, DAY_SECONDS),
    "max_backoff_seconds": (0, DAY_SECONDS),
    "reset_after_seconds": (0, 7 * DAY_SECONDS),
    "container_port": (1, 65_535),
    "host_port": (1, 65_535),
}

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}", re.ASCII)
_RESERVED_ENV = "ORC_"


def definition_faults(spec: WorkloadDefinition) -> Iterator[Fault]:
    """Every rule that a definition breaks; none means that it can be run as it stands."""
    yield from no_dns_label(("name",), spec.name)
    yield from no_dns_label(("namespace",), spec.namespace)
    yield from replica_faults(spec)
    yield from _out_of_bounds((), spec, "lost_after_seconds", "min_available")
    yield from unfit_labels(("labels",), spec.labels)
    yield from _restart_faults(("restart",), spec.restart)
    yield from export_faults(spec)
    yield from template_faults(spec.template())


def replica_faults(spec: WorkloadDefinition) -> Iterator[Fault]:
    """All that can be wrong with the number of replicas."""
    yield from _out_of_bounds((), spec, "replicas")
    if spec.gang and spec.replicas > MAX_GANG:
        rule = f"a gang has at most {MAX_GANG}, which are placed all at once"
        yield Fault(("replicas",), spec.replicas, rule)
    yield from single_export_faults(spec)


def _out_of_bounds(path: Path, record: object, *names: str) -> Iterator[Fault]:
    for name in names:
        value = getattr(record, name)
        if value is not None:
            yield from outside((*path, name), value, *BOUNDS[name])


def _restart_faults(path: Path, policy: RestartPolicy) -> Iterator[Fault]:
    names = (field.name for field in fields(policy))
    yield from _out_of_bounds(path, policy, *names)
    if policy.max_backoff_seconds < policy.backoff_seconds:
        rule = f"it must not be less than {path_text((*path, 'backoff_seconds'))}"
        yield Fault((*path, "max_backoff_seconds"), policy.max_backoff_seconds, rule)


def template_faults(template: WorkloadTemplate) -> Iterator[Fault]:
    yield from _out_of_bounds((), template, "stop_grace_seconds")
    containers = template.containers
    if not 1 <= len(containers) <= MAX_CONTAINERS:
        rule = f"a workload has 1 to {MAX_CONTAINERS} containers"
        yield Fault(("containers",), containers, rule)
    for index, container in enumerate(containers):
        yield from _container_faults(("containers", index), container, template)
    yield from repeated(
        (("containers", index, "name"), each.name, each.name)
        for index, each in enumerate(containers)
    )
    yield from repeated(_port_identities(template))
    yield from gpu_faults(containers)
    yield from placement_faults(("placement",), template.placement)
    yield from isolation_faults(template)


def _container_faults(
    path: Path, container: ContainerConfig, template: WorkloadTemplate
) -> Iterator[Fault]:
    yield from no_dns_label((*path, "name"), container.name)
    yield from _program_faults(path, container, needs_image=template.runtime() == "oci")
    yield from _text_faults(path, container)
    yield from _env_faults((*path, "env_vars"), container.env_vars)
    if len(container.ports) > MAX_PORTS:
        yield Fault((*path, "ports"), container.ports, f"a container has at most {MAX_PORTS}")
    for index, port in enumerate(container.ports):
        yield from _port_faults((*path, "ports", index), port)
    yield from resource_faults((*path, "resource_requests"), container.resource_requests)
    yield from resource_faults((*path, "resource_limits"), container.resource_limits)
    yield from over_limit(path, container.resource_requests, container.resource_limits)


def _program_faults(
    path: Path, container: ContainerConfig, *, needs_image: bool
) -> Iterator[Fault]:
    if needs_image and not container.image:
        rule = "either all containers of a workload have an image or none has"
        yield Fault((*path, "image"), container.image, rule)
    if not container.image and not container.command:
        rule = "without an image, it must name the program to run"
        yield Fault((*path, "command"), container.command, rule)
    if container.command and not container.command[0]:
        yield Fault((*path, "command", 0), "", "it must name the program to run")
    if container.working_dir and not container.working_dir.startswith("/"):
        yield Fault((*path, "working_dir"), container.working_dir, "it must begin with '/'")


def _text_faults(path: Path, container: ContainerConfig) -> Iterator[Fault]:
    for name in ("image", "working_dir"):
        yield from unfit_text((*path, name), getattr(container, name))
    for name in ("command", "args"):
        for index, argument in enumerate(getattr(container, name)):
            yield from unfit_text((*path, name, index), argument)


def _env_faults(path: Path, env_vars: dict[str, str]) -> Iterator[Fault]:
    for name, value in env_vars.items():
        if not _ENV_NAME.fullmatch(name):
            rule = "its name must be letters, digits, '_', '.' or '-', the first a letter or '_'"
            yield Fault((*path, name), value, rule)
        if name.startswith(_RESERVED_ENV):
            rule = f"names that begin with {_RESERVED_ENV} are set by the orchestrator"
            yield Fault((*path, name), value, rule)
        yield from unfit_text((*path, name), value)


def _port_faults(path: Path, port: PortMapping) -> Iterator[Fault]:
    yield from _out_of_bounds(path, port, "container_port", "host_port")
    if port.name:
        yield from no_dns_label((*path, "name"), port.name)
        if port.name.isdecimal():  # PORT_<name> would be taken for PORT_<container_port>
            yield Fault((*path, "name"), port.name, "it must contain a letter")


def _port_identities(template: WorkloadTemplate) -> Iterator[tuple[Path, object, Hashable]]:
    """What ports must not share: the container's own side, the node's side, and names. Containers
    of images share a network, and so that side of their ports."""
    is_shared = template.runtime() == "oci"
    for number, container in enumerate(template.containers):
        for index, port in enumerate(container.ports):
            path = ("containers", number, "ports", index)
            protocol = port.protocol
            inside = ("inside", 0 if is_shared else number, protocol, port.container_port)
            yield (*path, "container_port"), port.container_port, inside
            if port.host_port is not None:
                yield (*path, "host_port"), port.host_port, ("host", protocol, port.host_port)
            if port.name:
                yield (*path, "name"), port.name, ("name", port.name)
