"""Exec and attach: a WebSocket of a client, and one to the agent of the instance's node.

Frames are passed on as they are (`process.channels` tells what is in them). Each side is read only
as fast as the other one takes it, so that nothing piles up here; and when one ends, so does the
other. If the agent's breaks off, the client is told by an END of ours.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp import WSMsgType, web

from orchestrator.api.agents import NodeAgent, agent_of
from orchestrator.api.context import Api
from orchestrator.api.queries import AttachQuery, ExecQuery
from orchestrator.api.reads import find_place
from orchestrator.model.errors import NetworkError
from orchestrator.process.channels import Channel, End
from orchestrator.process.websockets import accepted, require_upgrade, send_end

Socket = TypeVar("Socket", web.WebSocketResponse, aiohttp.ClientWebSocketResponse)


async def execute(api: Api, request: web.Request, query: ExecQuery) -> web.StreamResponse:
    return await _proxied(api, request, "exec", _params(query))


async def attach(api: Api, request: web.Request, query: AttachQuery) -> web.StreamResponse:
    params = _params(query) | ({"stdin": "true"} if query.stdin else {})
    return await _proxied(api, request, "attach", params)


def _params(query: ExecQuery) -> dict[str, str]:
    return {"container": query.container} if query.container else {}


async def _proxied(
    api: Api, request: web.Request, what: str, params: dict[str, str]
) -> web.StreamResponse:
    """Raises what the agent refuses with, and `NetworkError`, before anything is accepted."""
    place = find_place(api.state, request.match_info["name"])
    agent = agent_of(api, place.node)
    path = f"/v1/instances/{quote(str(place.instance))}/{what}"
    if "Upgrade" not in request.headers:
        (await agent.get(path, params)).close()  # to be told why an upgrade was refused
    require_upgrade(request)
    theirs = await agent.connect(path, params)
    try:
        with api.streams.registered():
            async with accepted(request) as ours:
                await _relay(ours, theirs, agent)
    finally:
        await theirs.close()
    return ours


async def _relay(
    ours: web.WebSocketResponse, theirs: aiohttp.ClientWebSocketResponse, agent: NodeAgent
) -> None:
    async with asyncio.TaskGroup() as group:
        hearing = group.create_task(_pass_on_requests(ours, theirs))
        has_ended = await _pass_on_answers(theirs, ours)
        hearing.cancel()
    if not has_ended:
        broken = agent.unreachable(NetworkError("it broke off"))
        await send_end(ours, End(None, str(broken)))


async def _pass_on_requests(
    ours: web.WebSocketResponse, theirs: aiohttp.ClientWebSocketResponse
) -> None:
    """Raises `ConnectionResetError` when the client has gone."""
    async for message in ours:
        try:
            if message.type is WSMsgType.TEXT:
                await theirs.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await theirs.send_bytes(message.data)
        except ConnectionError:
            return  # as who reads from it will tell
    raise ConnectionResetError("the client has gone")


async def _pass_on_answers(
    theirs: aiohttp.ClientWebSocketResponse, ours: web.WebSocketResponse
) -> bool:
    """Whether it came to its end."""
    has_ended = False
    async for message in theirs:
        if message.type is WSMsgType.BINARY:
            has_ended = message.data[:1] == bytes([Channel.END])
            await ours.send_bytes(message.data)
    return has_ended
