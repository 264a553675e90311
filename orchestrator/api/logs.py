"""Logs: read from the agents and passed on, one instance's or all of a workload's.

Nothing is kept here. What there is so far is merged by time, as far as the nodes' clocks agree;
what is followed comes as it comes.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing

from aiohttp import web

from orchestrator.api.context import Api
from orchestrator.api.log_follower import LogFollower
from orchestrator.api.log_sources import Source, has_begun, open_sources
from orchestrator.api.queries import LogsQuery
from orchestrator.api.requests import workload_key
from orchestrator.api.resources import find_place
from orchestrator.api.responses import Write
from orchestrator.model.errors import StateError, WorkloadNotFound
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey


async def instance_logs(api: Api, request: web.Request, query: LogsQuery) -> web.StreamResponse:
    """Raises `NetworkError` when the agent of its node cannot be reached."""
    place = find_place(api.state, request.match_info["name"])
    if not has_begun(api.state, place):
        raise StateError(f"instance {place.instance} has not started yet: it has no log")
    return await _answer(api, request, query, [place], joining=None)


async def workload_logs(api: Api, request: web.Request, query: LogsQuery) -> web.StreamResponse:
    """Of all instances that have started; with `follow`, also of those that start later.

    Raises `NetworkError` when not one of their agents can be reached.
    """
    key = workload_key(request)
    places = api.state.places_of(key)
    if not places and key not in api.state.workloads:
        raise WorkloadNotFound(f"there is no workload {key}")
    begun = [place for place in places if has_begun(api.state, place)]
    return await _answer(api, request, query, begun, joining=key)


async def _answer(
    api: Api,
    request: web.Request,
    query: LogsQuery,
    places: Iterable[InstancePlace],
    *,
    joining: WorkloadKey | None,
) -> web.StreamResponse:
    async with AsyncExitStack() as stack:
        sources = await open_sources(api, places, query, stack)

        async def produce(write: Write) -> None:
            if query.follow:
                await LogFollower(api, query, write).follow(sources, joining)
            else:
                await _merge(sources, write)

        return await api.streams.answer(request, produce)


async def _merge(sources: Iterable[Source], write: Write) -> None:
    """All lines by their times; those of one instance stay in their own order."""
    async with AsyncExitStack() as stack:
        heads: list[tuple[str, int, bytes]] = []
        readers = [
            await stack.enter_async_context(aclosing(_timed_lines(source))) for source in sources
        ]

        async def advance(index: int, after: str) -> None:
            async for time, line in readers[index]:
                heapq.heappush(heads, (max(time, after), index, line))
                return

        for index in range(len(readers)):
            await advance(index, "")
        while heads:
            time, index, line = heapq.heappop(heads)
            await write(line)
            await advance(index, time)


async def _timed_lines(source: Source) -> AsyncGenerator[tuple[str, bytes], None]:
    async with aclosing(source.lines()) as lines:
        async for line in lines:
            yield _time_of(line), line
    if source.error:
        yield "", source.error_line()


def _time_of(line: bytes) -> str:
    """RFC 3339 in UTC sorts as text."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    time = entry.get("time") if isinstance(entry, dict) else None
    return time if isinstance(time, str) else ""
