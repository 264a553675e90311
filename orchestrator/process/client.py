"""The HTTP client of controllers and agents, for calls to each other."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import hdrs

from orchestrator.model.errors import ConfigError
from orchestrator.process.settings import HttpSettings
from orchestrator.process.tokens import TokenFile


@asynccontextmanager
async def client_session(settings: HttpSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for the other processes: our own token, their CA, no overall deadline (set one
    for each call)."""
    tokens = TokenFile(settings.token_file) if settings.token_file else None

    async def with_token(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if tokens:
            request.headers[hdrs.AUTHORIZATION] = f"Bearer {tokens.own}"
        return await handler(request)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_client_tls(settings)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
        middlewares=(with_token,),
    ) as session:
        yield session


def _client_tls(settings: HttpSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.tls_ca_file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{settings.tls_ca_file} holds no CA certificate: {error}") from None
