"""What is used of the nodes: measured by the agents, added up by who asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerUsed:
    """What a container uses. `cpu_seconds` is since its start: two of them, and the time between,
    make a rate. A limit is None where there is none, and so is what its runtime cannot tell."""

    instance: str
    container: str
    cpu_seconds: float
    memory_mb: float
    cpu_limit_cores: float | None = None
    memory_limit_mb: float | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """What the containers of a node used at `measured_at`: seconds on a clock of that node, of
    which only differences mean anything. A `problem` says why nothing is known of it."""

    node: str
    measured_at: float = 0.0
    containers: tuple[ContainerUsed, ...] = ()
    problem: str = ""
