"""The table of endpoints, and how a server gets them."""

from __future__ import annotations

from functools import cache
from typing import Any

from aiohttp import web

from orchestrator.api import (
    images,
    logs,
    moves,
    reads,
    volumes,
    watch,
    whatif,
    why,
    writes,
)
from orchestrator.api.bodies import (
    CriticalNodeList,
    EventList,
    InstanceList,
    MoveRequest,
    MovesRequest,
    NodeList,
    NodePatch,
    ScaleRequest,
    StoredImageList,
    VolumeList,
    WatchLine,
    WorkloadList,
)
from orchestrator.api.context import Api
from orchestrator.api.endpoint import Endpoint
from orchestrator.api.openapi import Schema, document
from orchestrator.api.queries import (
    EventsQuery,
    ImageQuery,
    InstancesQuery,
    LogsQuery,
    Query,
    ReadQuery,
    RebalanceQuery,
    VolumesQuery,
    WatchQuery,
    WorkloadsQuery,
    WriteQuery,
)
from orchestrator.api.responses import REVISION_HEADER
from orchestrator.api.stream_endpoints import STREAM_ENDPOINTS
from orchestrator.api.suppositions import WhatIfRequest
from orchestrator.model.answers import ClusterSummary, LogEntry, Why, Written
from orchestrator.model.forecast import Forecast
from orchestrator.model.moves import MovesWritten, Rebalance
from orchestrator.model.stored_image import DeletedImages, PullLine
from orchestrator.model.views import Node, Workload, WorkloadInstance
from orchestrator.model.workload import WorkloadDefinition

_WORKLOAD = "/v1/workloads/{namespace}/{name}"
_IMAGES = "/v1/nodes/{name}/images"


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
    *STREAM_ENDPOINTS,
    Endpoint(
        "GET",
        f"{_WORKLOAD}/why",
        "Why a workload is as it is, and what each node would say to one more of it.",
        ReadQuery,
        why.why_workload,
        Why,
    ),
    Endpoint(
        "GET",
        "/v1/instances/{name}/why",
        "Why an instance is where it is, or is no more, and what each node would say to it.",
        ReadQuery,
        why.why_instance,
        Why,
    ),
    Endpoint(
        "PUT",
        "/v1/instances/{name}/move",
        "Have an instance moved to another node, as its workload's budget allows.",
        WriteQuery,
        moves.move_instance,
        Written,
        body=MoveRequest,
        may_create=True,
    ),
    Endpoint(
        "DELETE",
        "/v1/instances/{name}/move",
        "Leave an instance where it is after all.",
        WriteQuery,
        moves.keep_instance,
        Written,
    ),
    Endpoint(
        "POST",
        "/v1/moves",
        "Have several instances moved, those that are still where they were.",
        Query,
        moves.write_moves,
        MovesWritten,
        body=MovesRequest,
    ),
    Endpoint(
        "GET",
        "/v1/rebalance",
        "Plan moves that even out the load of the nodes, and write nothing.",
        RebalanceQuery,
        whatif.show_rebalance,
        Rebalance,
    ),
    Endpoint(
        "POST",
        "/v1/whatif",
        "Tell what changes would lead to, and write nothing.",
        ReadQuery,
        whatif.what_if,
        Forecast,
        body=WhatIfRequest,
    ),
    Endpoint(
        "GET",
        "/v1/critical-nodes",
        "List the nodes whose loss would leave something without a node.",
        ReadQuery,
        whatif.list_critical_nodes,
        CriticalNodeList,
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
        "Cordon or drain a node, label or taint it, or declare it lost.",
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
        _IMAGES,
        "List the images on a node.",
        ReadQuery,
        images.list_images,
        StoredImageList,
    ),
    Endpoint(
        "POST",
        _IMAGES,
        "Have a node pull an image; the last line tells how it went.",
        ImageQuery,
        images.pull_image,
        PullLine,
        is_stream=True,
    ),
    Endpoint(
        "DELETE",
        _IMAGES,
        "Delete an image from a node, if no container there has it.",
        ImageQuery,
        images.remove_image,
        DeletedImages,
    ),
    Endpoint(
        "POST",
        f"{_IMAGES}/prune",
        "Delete all images from a node that no container there has.",
        Query,
        images.prune_images,
        DeletedImages,
    ),
    Endpoint(
        "GET",
        "/v1/volumes",
        "List local volumes, and the node that each is on.",
        VolumesQuery,
        volumes.list_volumes,
        VolumeList,
    ),
    Endpoint(
        "DELETE",
        "/v1/nodes/{node}/volumes/{name}",
        "Delete a local volume with its data, once no instance has it.",
        Query,
        volumes.remove_volume,
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
