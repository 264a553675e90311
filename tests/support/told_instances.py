"""Instances as the API tells of them."""

from __future__ import annotations

from orchestrator.model.instance import Wanted, WorkloadInstanceStatus
from orchestrator.model.views import WorkloadInstance


def instance(**changes: object) -> WorkloadInstance:
    fields: dict[str, object] = {
        "name": "default.web.0.1",
        "namespace": "default",
        "workload": "web",
        "slot": 0,
        "attempt": 1,
        "generation": 1,
        "node": "a",
        "status": WorkloadInstanceStatus.RUNNING,
        "wanted": Wanted.RUNNING,
        "reason": "",
        "assigned_because": "it has room",
        "failures": 0,
        **changes,
    }
    return WorkloadInstance(**fields)  # type: ignore[arg-type]
