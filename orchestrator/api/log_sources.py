"""Where the lines of a log come from: one source for each instance, the agent of its node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from orchestrator.api.context import Api
from orchestrator.api.queries import LogsQuery
from orchestrator.api.requests import adapter
from orchestrator.model.answers import LogEntry
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import (
    ConfigError,
    NetworkError,
    OrchestrationError,
    WorkloadNotFound,
)
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import observation_of

ANSWER_SECONDS = 5.0
"""Until the agent has begun to answer; from then on a log may be silent for ever."""

MAX_LINE_BYTES = 4 * 1024 * 1024

_BROKEN = (aiohttp.ClientError, OSError, ValueError)
"""aiohttp lets `ValueError` through for an address that is no URL."""


@dataclass(frozen=True, slots=True)
class _Agent:
    """A node's agent. `address` is its URL, empty as long as it has not said so."""

    node: str
    address: str
    session: aiohttp.ClientSession

    async def open_log(self, instance: str, query: LogsQuery) -> _AgentLog:
        """Raises `NetworkError`, or what the agent refuses with."""
        if not self.address:
            raise NetworkError(
                f"node {self.node} has not said where its agent is: see that it runs"
            )
        url = f"{self.address.rstrip('/')}/v1/instances/{quote(instance)}/logs"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self.session.get(
                    url,
                    params=_params(query),
                    timeout=aiohttp.ClientTimeout(total=None),
                    allow_redirects=False,
                )
                if response.status != 200:
                    async with response:
                        raise self._refusal(response.status, await response.read())
        except _BROKEN as error:
            raise self.unreachable(error) from None
        return _AgentLog(self, response)

    def unreachable(self, error: Exception) -> NetworkError:
        why = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        return NetworkError(
            f"node {self.node} cannot be reached at {self.address} ({why or 'it hung up'}): "
            "see that its agent runs"
        )

    def _refusal(self, status: int, body: bytes) -> OrchestrationError:
        detail = _detail(body)
        if status == 404:
            return WorkloadNotFound(detail or f"node {self.node} has nothing of it: read again")
        if status == 400:
            return ConfigError(detail or f"node {self.node} refused it: see its agent's log")
        return NetworkError(
            f"node {self.node} at {self.address} refused with status {status}: "
            f"{detail or 'see the log of its agent'}"
        )


class _AgentLog:
    """One answer that is being read. Close it, or the connection stays."""

    def __init__(self, agent: _Agent, response: aiohttp.ClientResponse) -> None:
        self._agent = agent
        self._response = response

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
        except _BROKEN as error:
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
    report = api.state.reports.get(place.node)
    agent = _Agent(place.node, report.record.address if report else "", api.agents)
    try:
        return Source(place, await agent.open_log(str(place.instance), query))
    except OrchestrationError as error:
        return Source(place, None, error)


async def open_sources(
    api: Api, places: Iterable[InstancePlace], query: LogsQuery, stack: AsyncExitStack
) -> list[Source]:
    """All of them at once; `stack` closes them. Raises the error of the first if none opens."""

    async def opened(place: InstancePlace) -> Source:
        source = await open_source(api, place, query)
        stack.callback(source.close)  # now: while others are still opened, this may be cancelled
        return source

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(opened(place)) for place in places]
    sources = [task.result() for task in tasks]
    if sources and sources[0].error and all(source.error for source in sources):
        raise sources[0].error
    return sources


def _params(query: LogsQuery) -> dict[str, str]:
    params = {"follow": "true" if query.follow else "false"}
    if query.container:
        params["container"] = query.container
    if query.tail is not None:
        params["tail"] = str(query.tail)
    return params


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return detail if isinstance(detail, str) else ""
