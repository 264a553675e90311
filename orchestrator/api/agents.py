"""The agents of the nodes, as this replica asks them: over HTTP, with sentences for what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from orchestrator.api.context import Api
from orchestrator.model.errors import (
    ConfigError,
    NetworkError,
    OrchestrationError,
    StateError,
    WorkloadNotFound,
)
from orchestrator.process.websockets import connect

ANSWER_SECONDS = 5.0
"""Until an agent has begun to answer; from then on a stream may be silent for ever."""

BROKEN = (aiohttp.ClientError, OSError, ValueError)
"""aiohttp lets `ValueError` through for an address that is no URL."""


@dataclass(frozen=True, slots=True)
class NodeAgent:
    """A node's agent. `address` is its URL, empty as long as it has not said so."""

    node: str
    address: str
    session: aiohttp.ClientSession

    async def get(
        self, path: str, params: Mapping[str, str], limit_seconds: float = ANSWER_SECONDS
    ) -> aiohttp.ClientResponse:
        """As `ask` does."""
        return await self.ask("GET", path, params, limit_seconds)

    async def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        limit_seconds: float = ANSWER_SECONDS,
    ) -> aiohttp.ClientResponse:
        """An answer that has begun; the caller closes it.

        Raises `NetworkError`, or what the agent refuses with.
        """
        url = self._url(path)
        try:
            async with asyncio.timeout(limit_seconds):
                response = await self.session.request(
                    method,
                    url,
                    params=params,
                    timeout=aiohttp.ClientTimeout(total=None),
                    allow_redirects=False,
                )
                if response.status not in (200, 204):
                    async with response:
                        raise self._refusal(response.status, await response.read())
        except BROKEN as error:
            raise self.unreachable(error) from None
        return response

    async def connect(
        self, path: str, params: Mapping[str, str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket; the caller closes it. Raises as `get` does."""
        url = self._url(path)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await connect(self.session, url, params)
        except aiohttp.WSServerHandshakeError:
            (await self.get(path, params)).close()  # which tells why it was refused
            raise NetworkError(
                f"node {self.node} at {self.address} does not speak WebSocket: see what is between"
                " this server and that node"
            ) from None
        except BROKEN as error:
            raise self.unreachable(error) from None

    def unreachable(self, error: Exception) -> NetworkError:
        why = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        return NetworkError(
            f"node {self.node} cannot be reached at {self.address} ({why or 'it hung up'}): "
            "see that its agent runs"
        )

    def _url(self, path: str) -> str:
        if not self.address:
            raise NetworkError(
                f"node {self.node} has not said where its agent is: see that it runs"
            )
        return self.address.rstrip("/") + path

    def _refusal(self, status: int, body: bytes) -> OrchestrationError:
        detail = _detail(body)
        if status == 404:
            return WorkloadNotFound(detail or f"node {self.node} has nothing of it: read again")
        if status == 409:
            return StateError(detail or f"node {self.node} cannot do that now: read again")
        if status == 400:
            return ConfigError(detail or f"node {self.node} refused it: see its agent's log")
        return NetworkError(
            f"node {self.node} at {self.address} refused with status {status}: "
            f"{detail or 'see the log of its agent'}"
        )


def agent_of(api: Api, node: str) -> NodeAgent:
    report = api.state.reports.get(node)
    return NodeAgent(node, report.record.address if report else "", api.agents)


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return detail if isinstance(detail, str) else ""
