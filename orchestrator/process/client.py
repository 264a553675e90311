"""The HTTP client of controllers and agents, for calls to each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import hdrs

from orchestrator.process.address import may_carry_a_token
from orchestrator.process.settings import HttpSettings
from orchestrator.process.tls import client_tls
from orchestrator.process.tokens import TokenFile
from orchestrator.process.websockets import refusing_redirects


@asynccontextmanager
async def client_session(
    settings: HttpSettings, *, max_connections: int = 100
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for the other processes: our own token, their CA, no overall deadline (set one
    for each call). Calls beyond `max_connections` wait; 0: no limit. Raises `ConfigError` if the
    token file or the CA file will not do.

    With a token, a call that could be overheard fails. Follow no redirects (`allow_redirects`):
    the token would go wherever they lead.
    """
    tokens = TokenFile(settings.token_file) if settings.token_file else None

    async def with_token(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if tokens:
            if not may_carry_a_token(str(request.url)):
                raise aiohttp.ClientConnectionError("no token is sent over http to another machine")
            request.headers[hdrs.AUTHORIZATION] = f"Bearer {tokens.own}"
        return await handler(request)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=client_tls(settings.tls_ca_file), limit=max_connections),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        middlewares=(with_token, refusing_redirects),
    ) as session:
        yield session
