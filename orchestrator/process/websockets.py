"""WebSockets of ours: opened, refused with a sentence, and noticed when the other side is gone.

A server pings, and asks for no answer: it writes only so that a client that has gone is noticed
even while nothing is read from it. A client must not wait for the kernel's fifteen minutes until
it gives up a server whose machine is lost: its connection is probed when it is idle.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import hdrs, web

from orchestrator.model.errors import ConfigError
from orchestrator.process.channels import MAX_FRAME_BYTES, Channel, End, frame_of
from orchestrator.process.streams import while_connected

PING_SECONDS = 30.0

PROBE_AFTER_SECONDS, PROBE_EVERY_SECONDS, PROBES = 15, 5, 3

_PROBING = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES),
)


def require_upgrade(request: web.Request) -> None:
    """Raises `ConfigError` for a request that is no WebSocket's."""
    if not web.WebSocketResponse().can_prepare(request).ok:
        raise ConfigError(f"{request.path} speaks WebSocket: connect to it as such")


@asynccontextmanager
async def accepted(request: web.Request) -> AsyncIterator[web.WebSocketResponse]:
    """A server's end. The body is cancelled when the client is gone, and left without an error."""
    ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, timeout=1.0)
    await ws.prepare(request)
    async with while_connected(request):
        pinging = asyncio.create_task(_ping(ws))
        try:
            yield ws
        finally:
            pinging.cancel()
            await ws.close()


async def _ping(ws: web.WebSocketResponse) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        try:
            await ws.ping()
        except ConnectionError:
            return  # as whoever reads or writes is told


async def connect(
    session: aiohttp.ClientSession, url: str, params: Mapping[str, str] | None = None
) -> aiohttp.ClientWebSocketResponse:
    """A client's end. Raises `aiohttp.ClientError`: a refusal has no body (ask again without an
    upgrade to be told the reason)."""
    ws = await session.ws_connect(url, params=params, max_msg_size=MAX_FRAME_BYTES)
    connection = ws.get_extra_info("socket")
    for setting in _PROBING:
        connection.setsockopt(*setting)
    return ws


async def refusing_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """For a session that connects: aiohttp would follow, with the token, wherever they lead."""
    response = await handler(request)
    if hdrs.UPGRADE in request.headers and 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientConnectionError(f"it redirects to {response.headers.get('Location')}")
    return response


async def send_end(ws: web.WebSocketResponse, end: End) -> None:
    """If the client is still there."""
    if not ws.closed:
        await ws.send_bytes(frame_of(Channel.END, end))
