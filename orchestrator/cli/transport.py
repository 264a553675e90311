"""Requests to whichever of several API servers answers.

A server that cannot be reached, or that says that it cannot serve now, is passed over for the
next one. A request may thus be received twice. That is safe, because every write of the API says
what is to be true (PUT, PATCH, DELETE), never what is to be done once more.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from orchestrator.cli.errors import (
    Misunderstood,
    NotFound,
    NotNow,
    Refused,
    ServerUnreachable,
    StreamBroken,
)
from orchestrator.process.websockets import connect, refusing_redirects

MAX_LINE_BYTES = 4 * 1024 * 1024

_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
_UNFIT = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take to be connected to, and then to answer in full, or to think first:
    what it has to simulate may take a while.

    `silence_seconds`: how long a watch may say nothing; a server that lives says something every
    ten seconds.
    """

    connect_seconds: float = 3.0
    answer_seconds: float = 15.0
    thought_seconds: float = 180.0
    silence_seconds: float = 30.0

    def for_answer(self, *, is_thought: bool) -> aiohttp.ClientTimeout:
        seconds = self.thought_seconds if is_thought else self.answer_seconds
        return aiohttp.ClientTimeout(seconds, sock_connect=self.connect_seconds)

    def for_stream(self, *, may_be_silent: bool) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=None,
            sock_connect=self.connect_seconds,
            sock_read=None if may_be_silent else self.silence_seconds,
        )


class Transport:
    """`servers` are base URLs; the one that answered last is asked first. Open it with `async
    with`. No redirect is followed: the token would go wherever it leads."""

    def __init__(
        self,
        servers: Sequence[str],
        *,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._servers = deque(servers)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = tls
        self._patience = patience or Patience()
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        self._opened = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            read_bufsize=MAX_LINE_BYTES,
            middlewares=(refusing_redirects,),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(self._servers)

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._opened is not None, "open the transport with `async with`"
        return self._opened

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        only: str | None = None,
        is_thought: bool = False,
    ) -> Any:
        """The JSON that the first server to answer gives; None if it gives none. `only` that
        one is asked if it is named. `is_thought`: the answer takes thinking.

        Raises `ServerUnreachable`, `Refused` and its kinds, `Misunderstood`.
        """

        async def ask(server: str) -> Any:
            async with self._session.request(
                method,
                server + path,
                params=query,
                json=body,
                timeout=self._patience.for_answer(is_thought=is_thought),
                allow_redirects=False,
            ) as response:
                content = await response.read()
            _check(response.status, content)
            return _json(content) if content.strip() else None

        servers = (only,) if only else tuple(self._servers)
        return await self._first_answer(servers, ask, is_delete=method == "DELETE")

    async def stream(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        may_be_silent: bool = False,
        method: str = "GET",
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The objects of an NDJSON answer as they come; ends when the server ends it in good
        order, and raises `StreamBroken` when it breaks off."""

        async def ask(server: str) -> aiohttp.ClientResponse:
            timeout = self._patience.for_stream(may_be_silent=may_be_silent)
            response = await self._session.request(
                method, server + path, params=query, timeout=timeout, allow_redirects=False
            )
            if response.status != HTTPStatus.OK:
                async with response:
                    _check(response.status, await response.read())
            return response

        response = await self._first_answer(tuple(self._servers), ask)
        async with response, aclosing(_objects(response)) as objects:
            async for each in objects:
                yield each

    async def connect(
        self, path: str, *, query: Mapping[str, str] | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket, which the caller closes. Raises as `send` does."""

        async def ask(server: str) -> aiohttp.ClientWebSocketResponse:
            limit = self._patience.answer_seconds
            try:
                async with asyncio.timeout(limit):
                    return await connect(self._session, server + path, query)
            except aiohttp.WSServerHandshakeError as refused:
                await self.send("GET", path, query=query, only=server)  # to be told why
                raise Refused(
                    f"{server} does not speak WebSocket here ({refused.message}): see what is"
                    " between you and the server"
                ) from None

        answer: aiohttp.ClientWebSocketResponse = await self._first_answer(
            tuple(self._servers), ask
        )
        return answer

    async def _first_answer(
        self,
        servers: Sequence[str],
        ask: Callable[[str], Awaitable[Any]],
        *,
        is_delete: bool = False,
    ) -> Any:
        """What the first server that can answer says. To delete what an earlier server may have
        deleted without being able to say so is no error."""
        failures: list[str] = []
        unfit: NotNow | None = None
        was_maybe_done = False
        for server in servers:
            try:
                answer = await ask(server)
            except NotNow as error:
                unfit = error
                was_maybe_done |= error.status == HTTPStatus.GATEWAY_TIMEOUT
            except NotFound:
                if is_delete and was_maybe_done:
                    return None
                raise
            except _BROKEN as error:
                failures.append(f"{server}: {_why(error)}")
                was_maybe_done |= not isinstance(error, aiohttp.ClientConnectorError)
            else:
                self._servers.rotate(-self._servers.index(server))
                return answer
        raise unfit or ServerUnreachable("\n".join(["cannot reach a server:", *failures]))


async def _objects(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    try:
        async for line in response.content:
            if line.strip():
                yield _object(line)
    except ValueError:
        raise Misunderstood("a line of the answer is too long to be one") from None
    except _BROKEN as error:
        raise StreamBroken(f"{response.url.origin()} broke off: {_why(error)}") from None


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error}): look at --ca-file"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _system_words(error.os_error)
    return str(error) or type(error).__name__


def _system_words(error: OSError) -> str:
    """`connection refused`, which asyncio tells in other words."""
    is_known = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno or 0).lower() if is_known else str(error)


def _check(status: int, content: bytes) -> None:
    """Raises the error that a status and its problem document (RFC 9457) stand for."""
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    kind = _KINDS.get(status, NotNow if status in _UNFIT else Refused)
    raise kind(*_told(status, content))


_KINDS: dict[int, type[Refused]] = {HTTPStatus.NOT_FOUND: NotFound}


def _told(status: int, content: bytes) -> tuple[str, int, tuple[str, ...]]:
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return f"the server answered {status}: {content[:200]!r}", status, ()
    problems = problem.get("problems")
    sentences = tuple(str(each) for each in problems) if isinstance(problems, list) else ()
    told = problem.get("detail") or problem.get("title") or f"the server answered {status}"
    return str(told), status, sentences


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise Misunderstood(
            f"the answer is not JSON ({content[:60]!r}): is --server an orchestrator's?"
        ) from None


def _object(line: bytes) -> dict[str, Any]:
    value = _json(line)
    if not isinstance(value, dict):
        raise Misunderstood(f"a line of the answer is no JSON object: {line[:60]!r}")
    return value
