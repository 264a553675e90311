"""The endpoints that look into containers that run."""

from __future__ import annotations

from typing import Any

from orchestrator.api import streaming, usage
from orchestrator.api.bodies import UsageList
from orchestrator.api.endpoint import Endpoint
from orchestrator.api.queries import AttachQuery, ExecQuery, UsageQuery
from orchestrator.process.channels import End
from orchestrator.runtime.protocol import ExecRequest

STREAM_ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET",
        "/v1/instances/{name}/exec",
        "Run a command in a container of an instance, beside its own.",
        ExecQuery,
        streaming.execute,
        End,
        body=ExecRequest,
        is_socket=True,
    ),
    Endpoint(
        "GET",
        "/v1/instances/{name}/attach",
        "The output of a container of an instance from now on, and its input if it is open.",
        AttachQuery,
        streaming.attach,
        End,
        is_socket=True,
    ),
    Endpoint(
        "GET",
        "/v1/usage",
        "What the containers of all nodes use now, as their agents measure it.",
        UsageQuery,
        usage.show_usage,
        UsageList,
    ),
)
