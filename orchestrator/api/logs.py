"""Logs: read from the agents and passed on, one instance's or all of a workload's.

Nothing is kept here. What there is so far is merged by time, as far as the nodes' clocks agree;
what is followed comes as it comes.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial

from aiohttp import web

from orchestrator.api.context import Api
from orchestrator.api.log_sources import Source, has_begun, open_source, open_sources
from orchestrator.api.previous import open_over, open_previous_of
from orchestrator.api.queries import LogsQuery
from orchestrator.api.reads import find_place
from orchestrator.api.requests import instance_name, workload_key
from orchestrator.api.responses import Write
from orchestrator.model.errors import ConfigError, NetworkError, StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.log_cursor import LogCursor
from orchestrator.model.workload import WorkloadKey

REOPEN_SECONDS = 1.0


async def instance_logs(api: Api, request: web.Request, query: LogsQuery) -> web.StreamResponse:
    """Also of one that is gone, or with `previous` of the attempt before it, as far as kept.

    Raises `NetworkError` when the agent of its node cannot be reached.
    """
    name = instance_name(request)
    _require_sense(query)
    if query.previous or next(api.state.find_instance(name), None) is None:
        return await _answer_over(api, request, query, name)
    place = find_place(api.state, str(name))
    if not has_begun(api.state, place):
        raise StateError(
            f"instance {place.instance} has not started yet, so it has no log: try again later; "
            f"`orc describe instance {place.instance}` says what keeps it"
        )
    return await _answer(api, request, query, [place], joining=None)


async def workload_logs(api: Api, request: web.Request, query: LogsQuery) -> web.StreamResponse:
    """Of all instances that have started; with `follow`, also of those that start later; with
    `previous`, of the attempts before those that there are.

    Raises `NetworkError` when not one of their agents can be reached.
    """
    key = workload_key(request)
    _require_sense(query)
    places = api.state.places_of(key)
    if not places and key not in api.state.workloads:
        raise WorkloadNotFound(f"there is no workload {key}")
    if query.previous:
        async with AsyncExitStack() as stack:
            sources = await open_previous_of(api, key, query, stack)
            return await api.streams.answer(request, partial(_merge, sources))
    begun = [place for place in places if has_begun(api.state, place)]
    return await _answer(api, request, query, begun, joining=key)


def _require_sense(query: LogsQuery) -> None:
    if query.previous and query.follow:
        raise ConfigError("what is previous is over: ask for it without follow")


async def _answer_over(
    api: Api, request: web.Request, query: LogsQuery, name: InstanceName
) -> web.StreamResponse:
    async with AsyncExitStack() as stack:
        try:
            source = await open_over(api, name, query, stack)
        except WorkloadNotFound:
            if not query.previous:
                find_place(api.state, str(name))  # which says it in more familiar words
            raise
        return await api.streams.answer(request, partial(_merge, [source]))


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
                await _Follower(api, query, write).follow(sources, joining)
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
            yield _origin_of(line)[1], line
    if source.error:
        yield "", source.error_line()


def _origin_of(line: bytes) -> tuple[str, str]:
    """Its container and its time: RFC 3339 in UTC, which sorts as text. Empty if it says none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return "", ""
    said = entry if isinstance(entry, dict) else {}
    container, time = said.get("container"), said.get("time")
    return str(container or ""), time if isinstance(time, str) else ""


class _Follower:
    """Passes lines on as they come, across restarts of agents. One write is one line, so that
    those of several instances do not mix."""

    def __init__(self, api: Api, query: LogsQuery, write: Write) -> None:
        self._api = api
        self._query = query
        self._write = write

    async def follow(self, sources: list[Source], joining: WorkloadKey | None) -> None:
        """Until all `sources` have ended and, with `joining`, that workload is gone."""
        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(self._read(source, self._query))
            if joining:
                await self._join(group, joining, {source.place for source in sources})

    async def _join(
        self, group: asyncio.TaskGroup, key: WorkloadKey, followed: set[InstancePlace]
    ) -> None:
        """Take up every instance of the workload as it starts."""
        state, journal = self._api.state, self._api.journal
        while key in state.workloads or key in state.places_by_workload:
            position = journal.position
            for place in state.places_of(key):
                if place not in followed and has_begun(state, place):
                    followed.add(place)
                    group.create_task(self._read_from_start(place))
            await journal.beyond(position, timeout_seconds=self._api.heartbeat_seconds)

    async def _read_from_start(self, place: InstancePlace) -> None:
        query = replace(self._query, tail=None)
        await self._read(await open_source(self._api, place, query), query)

    async def _read(self, source: Source, query: LogsQuery) -> None:
        """To its end. When it breaks off that is told, once, and it is taken up again."""
        cursor = LogCursor(is_cut=query.tail is not None)
        is_told = False
        while True:
            async with aclosing(_new_lines(source, cursor)) as lines:
                async for line in lines:
                    is_told = False
                    await self._write(line)
            if source.error is None:
                return
            if not is_told:
                await self._write(source.error_line())
            is_told = True
            if not isinstance(source.error, NetworkError):
                return
            await asyncio.sleep(REOPEN_SECONDS)
            if source.place not in self._api.state.assignments:
                return
            wanted = replace(query, tail=None) if cursor.has_moved else query
            source = await open_source(self._api, source.place, wanted)


async def _new_lines(source: Source, cursor: LogCursor) -> AsyncGenerator[bytes, None]:
    """What `source` has beyond the cursor. It is closed in the end."""
    cursor.begin()
    try:
        async with aclosing(source.lines()) as lines:
            async for line in lines:
                if cursor.is_new(*_origin_of(line)):
                    yield line
    finally:
        source.close()
