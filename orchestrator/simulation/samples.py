"""Workloads that simulated people want, and what their programs do."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from orchestrator.runtime.simulated_host import Program

PROGRAMS = {
    "serve": Program(),
    "fail": Program(runs_seconds=20.0, exit_code=1),
    "forget": Program(runs_seconds=35.0, loses_exit_code=True),
    "dawdle": Program(start_seconds=8.0),
    "resist": Program(ignores_sigterm=True),
}
"""By their commands. All of them go on for ever once they are `cured`."""


def web(replicas: int = 3, **changes: object) -> WorkloadDefinition:
    """A workload of one plain process."""
    container = ContainerConfig("app", command=("serve",))
    definition = WorkloadDefinition("web", (container,), replicas=replicas)
    return replace(definition, **changes)  # type: ignore[arg-type]


def cured(program: Program) -> Program:
    return replace(program, runs_seconds=inf, start_seconds=None)
