"""Where the lines of a log come from: one source for each instance, the agent of its node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack

from orchestrator.api.agents import Agent, AgentLog
from orchestrator.api.bodies import LogEntry
from orchestrator.api.context import Api
from orchestrator.api.queries import LogsQuery
from orchestrator.api.requests import adapter
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import NetworkError, OrchestrationError
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import observation_of


class Source:
    """The log of one instance: being read, or `error` says why it is not."""

    def __init__(
        self, place: InstancePlace, log: AgentLog | None, error: OrchestrationError | None = None
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
    agent = Agent(place.node, report.record.address if report else "", api.agents)
    try:
        return Source(place, await agent.open_log(str(place.instance), query))
    except OrchestrationError as error:
        return Source(place, None, error)


async def open_sources(
    api: Api, places: Iterable[InstancePlace], query: LogsQuery, stack: AsyncExitStack
) -> list[Source]:
    """All of them at once; `stack` closes them. Raises the error of the first if none opens."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(open_source(api, place, query)) for place in places]
    sources = [task.result() for task in tasks]
    for source in sources:
        stack.callback(source.close)
    if sources and sources[0].error and all(source.error for source in sources):
        raise sources[0].error
    return sources
