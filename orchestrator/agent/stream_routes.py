"""Exec and attach over WebSocket, as `process.channels` describes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn

from aiohttp import WSMsgType, web
from pydantic import TypeAdapter, ValidationError

from orchestrator.model import errors
from orchestrator.process.channels import (
    OUTPUTS,
    Channel,
    End,
    Size,
    frame_of,
    read_frame,
    read_size,
)
from orchestrator.process.websockets import accepted, require_upgrade, send_end
from orchestrator.runtime.protocol import (
    ContainerRuntime,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ExecRequest,
    NotExecuted,
    Streams,
)

REQUEST_SECONDS = 10.0
"""Within which a client has to say what it wants to execute."""

_REQUEST = TypeAdapter(ExecRequest)

_GONE = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})

Start = Callable[[web.WebSocketResponse], Awaitable[Streams]]


def stream_routes(node: str, runtime: ContainerRuntime) -> list[web.RouteDef]:
    """`GET /v1/instances/{instance}/exec?container=` and `.../attach?container=&stdin=`. A
    container must be named if there are several."""

    async def execute(request: web.Request) -> web.StreamResponse:
        spec = await _running(node, runtime, request)
        require_upgrade(request)

        async def start(ws: web.WebSocketResponse) -> Streams:
            return await runtime.exec(spec.id, await _asked(ws))

        return await _serve(request, start)

    async def attach(request: web.Request) -> web.StreamResponse:
        spec = await _running(node, runtime, request)
        if request.query.get("stdin", "") in {"true", "1"}:
            _require_stdin(spec)
        require_upgrade(request)

        async def start(_ws: web.WebSocketResponse) -> Streams:
            return await runtime.attach(spec.id)

        return await _serve(request, start)

    return [
        web.get("/v1/instances/{instance}/exec", execute, allow_head=False),
        web.get("/v1/instances/{instance}/attach", attach, allow_head=False),
    ]


async def _running(node: str, runtime: ContainerRuntime, request: web.Request) -> ContainerSpec:
    """Raises `WorkloadNotFound`, `StateError` if it does not run, and `ConfigError`."""
    instance, named = request.match_info["instance"], request.query.get("container", "")
    there = [each for each in await runtime.list() if each.spec.instance == instance]
    if not there:
        raise errors.WorkloadNotFound(f"node {node} has no containers of instance {instance}")
    found = [each for each in there if named in {"", each.spec.container}]
    names = ", ".join(each.spec.container for each in there)
    if not found:
        raise errors.WorkloadNotFound(f"{instance} has no container {named!r}; it has {names}")
    if len(found) > 1:
        raise errors.ConfigError(f"{instance} has several containers: name one of {names}")
    if found[0].state is not ContainerState.RUNNING:
        raise errors.StateError(_why_not_running(found[0]))
    return found[0].spec


def _why_not_running(container: ContainerStatus) -> str:
    spec, reason = container.spec, container.reason
    told = f"container {spec.container} of {spec.instance} does not run"
    if container.state is ContainerState.CREATED:
        return f"{told} yet: try again"
    if reason:
        return f"{told} any more: {reason}"
    return f"{told} any more: it has ended with exit code {container.exit_code}"


def _require_stdin(spec: ContainerSpec) -> None:
    if spec.isolation is None:
        raise errors.StateError(
            f"{spec.container} of {spec.instance} is a plain process, without a standard input:"
            " attach to it without"
        )
    if not spec.isolation.config.stdin:
        raise errors.StateError(
            f"the standard input of {spec.container} of {spec.instance} is closed: attach to it"
            " without, or set `stdin: true` in its manifest"
        )


async def _asked(ws: web.WebSocketResponse) -> ExecRequest:
    """The first frame. Raises `ConfigError`."""
    try:
        message = await ws.receive(REQUEST_SECONDS)
        if message.type in _GONE:
            raise ConnectionResetError("the client has gone")
        if message.type is not WSMsgType.TEXT:
            raise errors.ConfigError("the first frame must be text: what is to be executed")
        asked = _REQUEST.validate_json(message.data)
        Size(asked.rows, asked.columns)
    except TimeoutError:
        raise errors.ConfigError("it was not said in time what is to be executed") from None
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise errors.ConfigError(f"what is to be executed: {where}: {first['msg']}") from None
    except ValueError as unfit:
        raise errors.ConfigError(str(unfit)) from None
    return asked


async def _serve(request: web.Request, start: Start) -> web.StreamResponse:
    async with accepted(request) as ws:
        try:
            streams = await start(ws)
        except NotExecuted as refused:
            await send_end(ws, End(refused.exit_code, str(refused)))
        except errors.OrchestrationError as error:
            await send_end(ws, End(None, str(error)))
        else:
            try:
                await _converse(ws, streams)
            finally:
                await streams.close()
    return ws


async def _converse(ws: web.WebSocketResponse, streams: Streams) -> None:
    """Until it has ended, or the client has said what makes no sense."""
    try:
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(_hear(ws, streams))
            await _tell(ws, streams)
            hearing.cancel()
    except* errors.OrchestrationError as wrong:
        await send_end(ws, End(None, str(wrong.exceptions[0])))


async def _tell(ws: web.WebSocketResponse, streams: Streams) -> None:
    async with aclosing(streams.output()) as output:
        async for stream, piece in output:
            await ws.send_bytes(frame_of(OUTPUTS[stream], piece))
    await send_end(ws, End(await streams.exit_code()))


async def _hear(ws: web.WebSocketResponse, streams: Streams) -> NoReturn:
    """Raises `ConnectionResetError` when the client has gone, and `ConfigError` for nonsense."""
    while True:
        message = await ws.receive()
        if message.type in _GONE:
            raise ConnectionResetError("the client has gone")
        if message.type is not WSMsgType.BINARY:
            raise errors.ConfigError("a frame makes no sense: it is not binary")
        try:
            await _do(streams, *read_frame(message.data))
        except ValueError as error:
            raise errors.ConfigError(f"a frame makes no sense: {error}") from None


async def _do(streams: Streams, channel: Channel, content: bytes) -> None:
    match channel:
        case Channel.STDIN:
            await streams.write(content)
        case Channel.END_OF_INPUT:
            await streams.end_input()
        case Channel.RESIZE:
            size = read_size(content)
            await streams.resize(size.rows, size.columns)
        case _:
            raise ValueError(f"{channel.name} is for the server to say")
