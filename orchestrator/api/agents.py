"""The log of one instance, read from the agent of its node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from orchestrator.api.queries import LogsQuery
from orchestrator.model.errors import (
    ConfigError,
    NetworkError,
    OrchestrationError,
    WorkloadNotFound,
)

ANSWER_SECONDS = 5.0
"""Until the agent has begun to answer; from then on a log may be silent for ever."""

MAX_LINE_BYTES = 4 * 1024 * 1024

_BROKEN = (aiohttp.ClientError, OSError, ValueError)
"""aiohttp lets `ValueError` through for an address that is no URL."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A node's agent. `address` is its URL, empty as long as it has not said so."""

    node: str
    address: str
    session: aiohttp.ClientSession

    async def open_log(self, instance: str, query: LogsQuery) -> AgentLog:
        """Raises `NetworkError`, or what the agent refuses with."""
        if not self.address:
            raise NetworkError(
                f"node {self.node} has not said where its agent is: see that it runs"
            )
        url = f"{self.address.rstrip('/')}/v1/instances/{quote(instance)}/logs"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self.session.get(
                    url, params=_params(query), timeout=aiohttp.ClientTimeout(total=None)
                )
                if response.status != 200:
                    async with response:
                        raise self._refusal(response.status, await response.read())
        except _BROKEN as error:
            raise self.unreachable(error) from None
        return AgentLog(self, response)

    def unreachable(self, error: Exception) -> NetworkError:
        why = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        return NetworkError(
            f"node {self.node} cannot be reached at {self.address} ({why or 'it hung up'}): "
            "see that its agent runs"
        )

    def _refusal(self, status: int, body: bytes) -> OrchestrationError:
        detail = _detail(body)
        if status == 404:
            return WorkloadNotFound(detail or f"node {self.node} does not know it")
        if status == 400:
            return ConfigError(detail)
        return NetworkError(
            f"node {self.node} at {self.address} refused with status {status}: "
            f"{detail or 'it does not say why'}"
        )


class AgentLog:
    """One answer that is being read. Close it, or the connection stays."""

    def __init__(self, agent: Agent, response: aiohttp.ClientResponse) -> None:
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
