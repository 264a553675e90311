"""The agent's own HTTP routes: the logs of what runs, or has run, on this node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from orchestrator.model.errors import ConfigError, WorkloadNotFound
from orchestrator.process.streams import while_connected
from orchestrator.runtime.protocol import ContainerRuntime, ContainerStatus, LogLine


def agent_routes(node: str, runtime: ContainerRuntime) -> list[web.RouteDef]:
    """`GET /v1/instances/{instance}/logs?container=&follow=&tail=`, as lines of JSON:
    `{"instance", "container", "time", "stream", "text"}`."""

    async def logs(request: web.Request) -> web.StreamResponse:
        instance = request.match_info["instance"]
        containers = await _containers(node, runtime, instance, request.query.get("container", ""))
        follow = request.query.get("follow", "") in {"true", "1"}
        tail = _tail(request.query.get("tail", ""))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async with while_connected(request):
            async with asyncio.TaskGroup() as tasks:
                for each in containers:
                    lines = runtime.logs(each.spec.id, follow=follow, tail=tail)
                    tasks.create_task(_write(response, each, lines))
            await response.write_eof()
        return response

    return [web.get("/v1/instances/{instance}/logs", logs)]


async def _containers(
    node: str, runtime: ContainerRuntime, instance: str, container: str
) -> list[ContainerStatus]:
    there = [each for each in await runtime.list() if each.spec.instance == instance]
    if not there:
        raise WorkloadNotFound(f"node {node} has no containers of instance {instance}")
    found = [each for each in there if container in {"", each.spec.container}]
    if not found:
        names = ", ".join(each.spec.container for each in there)
        raise WorkloadNotFound(f"{instance} has no container {container!r}; it has {names}")
    return found


def _tail(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"tail is {text!r}: it must be a number of lines, 0 or more")
    return int(text)


async def _write(
    response: web.StreamResponse, container: ContainerStatus, lines: AsyncGenerator[LogLine]
) -> None:
    """Whole lines at a time, so that those of several containers do not mix."""
    async with aclosing(lines):
        async for line in lines:
            record = {
                "instance": container.spec.instance,
                "container": container.spec.container,
                "time": line.time,
                "stream": line.stream,
                "text": line.text,
            }
            await response.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
