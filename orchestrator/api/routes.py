"""The table of endpoints, and how a server gets them."""

from __future__ import annotations

from functools import cache
from typing import Any

from aiohttp import web

from orchestrator.api import logs, reads, watch, writes
from orchestrator.api.bodies import (
    EventList,
    InstanceList,
    NodeList,
    NodePatch,
    ScaleRequest,
    WatchLine,
    WorkloadList,
)
from orchestrator.api.context import Api
from orchestrator.api.endpoint import Endpoint
from orchestrator.api.openapi import Schema, document
from orchestrator.api.queries import (
    EventsQuery,
    InstancesQuery,
    LogsQuery,
    Query,
    ReadQuery,
    WatchQuery,
    WorkloadsQuery,
    WriteQuery,
)
from orchestrator.api.responses import REVISION_HEADER
from orchestrator.model.answers import ClusterSummary, LogEntry, Written
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.model.workload import WorkloadDefinition

_WORKLOAD = "/v1/workloads/{namespace}/{name}"


async def show_openapi(_api: Api, _request: web.Request, _query: Query) -> web.Response:
    return web.json_response(openapi())


ENDPOINTS: tuple[Endpoint[Any], ...] = (
    Endpoint(
        "GET",
        "/v1/workloads",
        "List workloads.",
        WorkloadsQuery,
        reads.list_workloads,
        WorkloadList,
    ),
    Endpoint(
        "GET",
        _WORKLOAD,
        "Show a workload. The ETag is its mod_revision.",
        ReadQuery,
        reads.show_workload,
        Workload,
    ),
    Endpoint(
        "PUT",
        _WORKLOAD,
        "Apply a manifest: make it what is wanted.",
        WriteQuery,
        writes.apply_workload,
        Written,
        body=WorkloadDefinition,
        may_create=True,
    ),
    Endpoint(
        "DELETE",
        _WORKLOAD,
        "Stop all instances of a workload, then forget it.",
        WriteQuery,
        writes.delete_workload,
        Written,
    ),
    Endpoint(
        "PUT",
        f"{_WORKLOAD}/scale",
        "Change the number of replicas.",
        WriteQuery,
        writes.scale_workload,
        Written,
        body=ScaleRequest,
    ),
    Endpoint(
        "GET",
        f"{_WORKLOAD}/logs",
        "Logs of all of a workload's instances.",
        LogsQuery,
        logs.workload_logs,
        LogEntry,
        is_stream=True,
    ),
    Endpoint(
        "GET",
        "/v1/instances",
        "List instances.",
        InstancesQuery,
        reads.list_instances,
        InstanceList,
    ),
    Endpoint(
        "GET",
        "/v1/instances/{name}",
        "Show an instance.",
        ReadQuery,
        reads.show_instance,
        WorkloadInstance,
    ),
    Endpoint(
        "GET",
        "/v1/instances/{name}/logs",
        "Logs of an instance.",
        LogsQuery,
        logs.instance_logs,
        LogEntry,
        is_stream=True,
    ),
    Endpoint("GET", "/v1/nodes", "List nodes.", ReadQuery, reads.list_nodes, NodeList),
    Endpoint(
        "GET",
        "/v1/nodes/{name}",
        "Show a node. The ETag is of what people say of it.",
        ReadQuery,
        reads.show_node,
        Node,
    ),
    Endpoint(
        "PATCH",
        "/v1/nodes/{name}",
        "Cordon a node, label it, or declare it lost.",
        WriteQuery,
        writes.change_node,
        Written,
        body=NodePatch,
    ),
    Endpoint(
        "DELETE",
        "/v1/nodes/{name}",
        "Forget a node whose agent is gone for good.",
        WriteQuery,
        writes.remove_node,
        Written,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        "What happened, the newest last.",
        EventsQuery,
        reads.list_events,
        EventList,
    ),
    Endpoint(
        "GET",
        "/v1/watch",
        "What there is, then what changes.",
        WatchQuery,
        watch.watch,
        WatchLine,
        is_stream=True,
    ),
    Endpoint(
        "GET",
        "/v1/cluster",
        "The cluster as this replica sees it.",
        ReadQuery,
        reads.show_cluster,
        ClusterSummary,
        needs_state=False,
    ),
    Endpoint(
        "GET",
        "/v1/openapi.json",
        "This document.",
        Query,
        show_openapi,
        dict[str, Any],
        needs_state=False,
    ),
)


@cache
def openapi() -> Schema:
    return document(ENDPOINTS)


def mount_api(app: web.Application, api: Api) -> None:
    """Serve `api` in `app`. Its streams break off when the server shuts down."""
    app.add_routes([endpoint.route(api) for endpoint in ENDPOINTS])

    async def state_revision(request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/v1/"):
            response.headers.setdefault(REVISION_HEADER, str(api.view.revision))

    async def break_off(_app: web.Application) -> None:
        api.streams.break_off()

    app.on_response_prepare.append(state_revision)
    app.on_shutdown.append(break_off)
