"""The agent's own HTTP routes: what runs, or has run, on this node, for API servers to ask for."""

from __future__ import annotations

import time
from dataclasses import asdict

from aiohttp import web

from orchestrator.agent.log_routes import log_routes
from orchestrator.agent.stream_routes import stream_routes
from orchestrator.model.usage import ContainerUsed, NodeUsage
from orchestrator.runtime.protocol import ContainerRuntime
from store.patience import Clock


def agent_routes(
    node: str, runtime: ContainerRuntime, clock: Clock = time.monotonic
) -> list[web.RouteDef]:
    """Those of `log_routes` and `stream_routes`, and `GET /v1/usage`: a `NodeUsage`."""

    async def usage(_request: web.Request) -> web.Response:
        containers = await _used(runtime)
        return web.json_response(asdict(NodeUsage(node, clock(), containers)))

    return [
        *log_routes(node, runtime),
        *stream_routes(node, runtime),
        web.get("/v1/usage", usage),
    ]


async def _used(runtime: ContainerRuntime) -> tuple[ContainerUsed, ...]:
    limits = {each.spec.id: each.spec.limits for each in await runtime.list()}
    return tuple(
        ContainerUsed(
            each.instance,
            each.container,
            each.cpu_seconds,
            each.memory_mb,
            cpu_limit_cores=(limits[each.id].cpu_cores or None) if each.id in limits else None,
            memory_limit_mb=each.memory_limit_mb,
            processes=each.processes,
        )
        for each in await runtime.usage()
    )
