"""Following logs for as long as there is something to follow, across restarts of agents."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

from orchestrator.api.context import Api
from orchestrator.api.log_sources import Source, has_begun, open_source
from orchestrator.api.queries import LogsQuery
from orchestrator.api.responses import Write
from orchestrator.model.errors import NetworkError
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey

REOPEN_SECONDS = 1.0


class LogFollower:
    """Passes lines on as they come. One write is one line, so they do not mix."""

    def __init__(self, api: Api, query: LogsQuery, write: Write) -> None:
        self._api = api
        self._query = query
        self._write = write

    async def follow(self, sources: list[Source], joining: WorkloadKey | None) -> None:
        """Until all `sources` have ended and, with `joining`, that workload is gone."""
        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(self._read(source))
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
        await self._read(await open_source(self._api, place, replace(self._query, tail=None)))

    async def _read(self, source: Source) -> None:
        """To its end. When it breaks off that is told, once, and it is opened again."""
        is_told = False
        while True:
            try:
                async with aclosing(source.lines()) as lines:
                    async for line in lines:
                        is_told = False
                        await self._write(line)
            finally:
                source.close()
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
            source = await self._reopened(source)

    async def _reopened(self, source: Source) -> Source:
        return await open_source(self._api, source.place, replace(self._query, tail=0))
