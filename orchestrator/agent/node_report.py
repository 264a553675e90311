"""What this machine has: read once at start, but for what only its settings know."""

from __future__ import annotations

import platform
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.model.node import NodeReport
from orchestrator.model.resources import GPU, NodeResources
from orchestrator.runtime.protocol import RuntimeReport

BYTES_A_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """What the node's settings say of it: `gpus` has the model of each device, by its index,
    `resources` what it has besides, and `reserved` is kept from instances. Containers may bind
    the paths in `allowed_binds`, and all below them."""

    address: str
    labels: dict[str, str] = field(default_factory=dict)
    reserved: NodeResources = field(default_factory=NodeResources)
    gpus: tuple[str, ...] = ()
    resources: dict[str, float] = field(default_factory=dict)
    allowed_binds: tuple[str, ...] = ()
    allows_privileged: bool = False


Survey = Callable[[NodeProfile, RuntimeReport, Path], NodeReport]
"""How an agent learns what its machine has: by `node_report`, but for machines that are none."""


def node_report(profile: NodeProfile, runtime: RuntimeReport, data_dir: Path) -> NodeReport:
    """Capacity is the machine's, allocatable is what `reserved` leaves of it."""
    capacity = NodeResources(
        cpu_cores=float(psutil.cpu_count() or 1),
        memory_mb=psutil.virtual_memory().total // BYTES_A_MB,
        disk_mb=shutil.disk_usage(data_dir).total // BYTES_A_MB,
        custom=_custom(profile),
    )
    return NodeReport(
        address=profile.address,
        capacity=capacity,
        allocatable=_less(capacity, profile.reserved),
        runtimes=runtime.kinds,
        labels=profile.labels,
        versions={**runtime.versions, "python": platform.python_version()},
        hostname=socket.gethostname(),
        gpus=profile.gpus,
        allowed_binds=profile.allowed_binds,
        allows_privileged=profile.allows_privileged,
    )


def _custom(profile: NodeProfile) -> dict[str, float]:
    gpus = {GPU: float(len(profile.gpus))} if profile.gpus else {}
    return {**profile.resources, **gpus}


def _less(capacity: NodeResources, reserved: NodeResources) -> NodeResources:
    """Nothing falls below 0: more may be reserved than there is."""
    return NodeResources(
        cpu_cores=max(0.0, capacity.cpu_cores - reserved.cpu_cores),
        memory_mb=max(0.0, capacity.memory_mb - reserved.memory_mb),
        disk_mb=max(0.0, capacity.disk_mb - reserved.disk_mb),
        custom={
            name: max(0.0, amount - reserved.custom.get(name, 0.0))
            for name, amount in capacity.custom.items()
        },
    )
