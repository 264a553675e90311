"""Logs over HTTP: of what runs on this node, has run, or was removed and is not forgotten yet."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from orchestrator.model.errors import ConfigError, StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.process.streams import INSTANCE_HEADER, while_connected
from orchestrator.runtime.protocol import ContainerRuntime, LogLine, LogQuery


@dataclass(frozen=True, slots=True)
class _Container:
    instance: str
    name: str

    @property
    def id(self) -> str:
        return f"{self.instance}.{self.name}"


def log_routes(node: str, runtime: ContainerRuntime) -> list[web.RouteDef]:
    """`GET /v1/instances/{instance}/logs?container=&follow=&tail=&since=&previous=`, as lines of
    JSON: `{"instance", "container", "time", "stream", "text"}`. `since` is in seconds since 1970;
    `previous` asks for the newest attempt in the same slot before this one."""

    async def logs(request: web.Request) -> web.StreamResponse:
        asked = request.query
        containers = await _containers(node, runtime, request)
        query = LogQuery(
            follow=_is_true(asked.get("follow", "")),
            tail=_tail(asked.get("tail", "")),
            since=_since(asked.get("since", "")),
        )
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/x-ndjson",
                INSTANCE_HEADER: containers[0].instance,
            }
        )
        await response.prepare(request)
        async with while_connected(request):
            async with asyncio.TaskGroup() as tasks:
                for each in containers:
                    lines = runtime.logs(each.id, query)
                    tasks.create_task(_write(response, each, lines))
            await response.write_eof()
        return response

    return [web.get("/v1/instances/{instance}/logs", logs)]


async def _containers(
    node: str, runtime: ContainerRuntime, request: web.Request
) -> list[_Container]:
    """Those asked for. Raises `WorkloadNotFound`."""
    instance, named = request.match_info["instance"], request.query.get("container", "")
    ids = {*await runtime.kept_logs(), *(each.spec.id for each in await runtime.list())}
    known = [_container(each) for each in sorted(ids)]
    if _is_true(request.query.get("previous", "")):
        there = _of_previous(known, instance, named)
        if not there:
            raise WorkloadNotFound(f"node {node} has no log of an attempt before {instance}")
    else:
        there = [each for each in known if each.instance == instance]
    if not there:
        raise WorkloadNotFound(f"node {node} has no containers of instance {instance}")
    found = [each for each in there if named in {"", each.name}]
    if not found:
        names = ", ".join(each.name for each in there)
        raise WorkloadNotFound(f"{instance} has no container {named!r}; it has {names}")
    return found


def _container(container_id: str) -> _Container:
    instance, _, name = container_id.rpartition(".")
    return _Container(instance, name)


def _of_previous(known: Iterable[_Container], instance: str, named: str) -> list[_Container]:
    """The containers of the newest attempt before `instance` that had the one named."""
    name = _parsed(instance)
    if name is None:
        return []
    earlier = [
        (its_name.attempt, each)
        for each in known
        if (its_name := _parsed(each.instance)) is not None
        and its_name[:3] == name[:3]
        and its_name.attempt < name.attempt
        and named in {"", each.name}
    ]
    newest = max((attempt for attempt, _ in earlier), default=None)
    return [each for attempt, each in earlier if attempt == newest]


def _parsed(instance: str) -> InstanceName | None:
    try:
        return InstanceName.parse(instance)
    except StateError:
        return None


def _is_true(text: str) -> bool:
    return text in {"true", "1"}


def _tail(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"tail is {text!r}: it must be a number of lines, 0 or more")
    return int(text)


def _since(text: str) -> float | None:
    if not text:
        return None
    try:
        since = float(text)
    except ValueError:
        since = math.nan
    if not 0 <= since < MAX_SINCE:
        raise ConfigError(f"since is {text!r}: it must be a number of seconds since 1970")
    return since


MAX_SINCE = 253_402_300_800.0
"""The year 10000, which no log can tell."""


async def _write(
    response: web.StreamResponse, container: _Container, lines: AsyncGenerator[LogLine]
) -> None:
    """Whole lines at a time, so that those of several containers do not mix."""
    async with aclosing(lines):
        async for line in lines:
            record = {
                "instance": container.instance,
                "container": container.name,
                "time": line.time,
                "stream": line.stream,
                "text": line.text,
            }
            await response.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
