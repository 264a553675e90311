"""Where the lines of a log come from: one source for each instance, the agent of its node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack
from urllib.parse import quote

import aiohttp

from orchestrator.api.agents import BROKEN, NodeAgent, agent_of
from orchestrator.api.context import Api
from orchestrator.api.queries import LogsQuery
from orchestrator.api.requests import adapter
from orchestrator.model.answers import LogEntry
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import NetworkError, OrchestrationError
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import observation_of
from orchestrator.process.streams import INSTANCE_HEADER

MAX_LINE_BYTES = 4 * 1024 * 1024


class _AgentLog:
    """One answer that is being read. Close it, or the connection stays."""

    def __init__(self, agent: NodeAgent, response: aiohttp.ClientResponse) -> None:
        self._agent = agent
        self._response = response

    @property
    def instance(self) -> str:
        return self._response.headers.get(INSTANCE_HEADER, "")

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Whole lines, each with its line end. Raises `NetworkError` when it breaks off."""
        rest = b""
        try:
            async for chunk in self._response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line + b"\n"
                if len(rest) > MAX_LINE_BYTES:
                    raise ValueError(f"it sent a line of more than {MAX_LINE_BYTES} bytes")
        except BROKEN as error:
            raise self._agent.unreachable(error) from None

    def close(self) -> None:
        self._response.close()


class Source:
    """The log of one instance: being read, or `error` says why it is not."""

    def __init__(
        self, place: InstancePlace, log: _AgentLog | None, error: OrchestrationError | None = None
    ) -> None:
        self.place = place
        self.error = error
        self._log = log

    @property
    def instance(self) -> str:
        """Whose log it is, as its agent says."""
        return self._log.instance if self._log else ""

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Until the log ends, or `error` is set."""
        if self._log is None:
            return
        try:
            async for line in self._log.lines():
                yield line
        except NetworkError as error:
            self.error = error

    def error_line(self) -> bytes:
        """The error, told among the lines of the log."""
        entry = LogEntry(str(self.place.instance), "", "", "system", str(self.error))
        return adapter(LogEntry).dump_json(entry) + b"\n"

    def close(self) -> None:
        if self._log:
            self._log.close()


def has_begun(state: ClusterState, place: InstancePlace) -> bool:
    """Whether its agent has said that there is, or was, something running."""
    observation = observation_of(state, place)
    return observation is not None and observation.status is not WorkloadInstanceStatus.PENDING


async def open_source(api: Api, place: InstancePlace, query: LogsQuery) -> Source:
    agent = agent_of(api, place.node)
    path = f"/v1/instances/{quote(str(place.instance))}/logs"
    try:
        return Source(place, _AgentLog(agent, await agent.get(path, _params(query))))
    except OrchestrationError as error:
        return Source(place, None, error)


async def open_all(
    api: Api, places: Iterable[InstancePlace], query: LogsQuery, stack: AsyncExitStack
) -> list[Source]:
    """All of them at once, those that fail too; `stack` closes them."""

    async def opened(place: InstancePlace) -> Source:
        source = await open_source(api, place, query)
        stack.callback(source.close)  # now: while others are still opened, this may be cancelled
        return source

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(opened(place)) for place in places]
    return [task.result() for task in tasks]


async def open_sources(
    api: Api, places: Iterable[InstancePlace], query: LogsQuery, stack: AsyncExitStack
) -> list[Source]:
    """As `open_all`. Raises the error of the first if none opens."""
    sources = await open_all(api, places, query, stack)
    if sources and sources[0].error and all(source.error for source in sources):
        raise sources[0].error
    return sources


def _params(query: LogsQuery) -> dict[str, str]:
    params = {"follow": "true" if query.follow else "false"}
    if query.container:
        params["container"] = query.container
    if query.tail is not None:
        params["tail"] = str(query.tail)
    if query.since is not None:
        params["since"] = repr(query.since)
    if query.previous:
        params["previous"] = "true"
    return params
