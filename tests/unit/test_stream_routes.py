"""Exec over WebSocket as an agent serves it and an API server passes it on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest

from orchestrator.agent.routes import agent_routes
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.process import streams
from orchestrator.process.channels import Channel, End, Size, frame_of, read_end, read_frame
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.protocol import ContainerSpec, ExecRequest, Streams
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from tests.support.api import world
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 10.0
PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))
INSTANCE = str(PLACE.instance)
PIECE = b"y" * 64 * 1024
MUCH_BYTES = 64 * 1024 * 1024
"""More than all the buffers on a way hold together."""


class Endless:
    """`Streams` that always have more to say, and count it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.written: list[bytes] = []
        self.is_closed = asyncio.Event()

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        while True:
            self.bytes += len(PIECE)
            yield "stdout", PIECE
            await asyncio.sleep(0)

    async def write(self, piece: bytes) -> None:
        """It never reads."""
        self.written.append(piece)
        await asyncio.Event().wait()

    async def end_input(self) -> None:
        return

    async def resize(self, rows: int, columns: int) -> None:
        return

    async def exit_code(self) -> int | None:
        return 0

    async def close(self) -> None:
        self.is_closed.set()


class Runtime(SimulatedRuntime):
    """`endless`, once there is one, is what is executed."""

    endless: Endless | None = None

    async def exec(self, container_id: str, request: ExecRequest) -> Streams:
        return self.endless or await super().exec(container_id, request)


@asynccontextmanager
async def served(kind: str) -> AsyncIterator[tuple[str, Runtime]]:
    """The address of an agent, or of an API server before it, and the agent's runtime."""
    programs = {
        "copy": Program(copies_input=True),
        "show-size": Program(shows_size=True),
        "quiet": Program(),
    }
    host = SimulatedHost(time.time, random.Random(1), programs=programs)
    runtime = Runtime(host)
    for container in ("app", "side"):
        spec = ContainerSpec(f"{INSTANCE}.{container}", INSTANCE, container, 1, ("serve",))
        await runtime.create(spec)
    settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
    app = new_app(settings, new_registry("agent"), Health())
    app.add_routes(agent_routes("n1", runtime))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(app, settings))
        address = settings.url
        if kind == "api":
            there = await stack.enter_async_context(world())
            replica = await stack.enter_async_context(there.replica())
            await there.add_node("n1", settings.url)
            await replica.view.reached(await there.report(PLACE, await there.assign(PLACE)))
            address = replica.api.address
        yield f"{address}/v1/instances/{INSTANCE}", runtime


@pytest.fixture(params=["agent", "api"])
async def there(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, Runtime]]:
    async with served(request.param) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def rest_of(ws: aiohttp.ClientWebSocketResponse) -> tuple[bytes, End | None]:
    """What it still writes, and its end."""
    said, end = b"", None
    async with asyncio.timeout(LIMIT_SECONDS):
        async for message in ws:
            channel, content = read_frame(message.data)
            if channel is Channel.END:
                end = read_end(content)
            else:
                said += content
    return said, end


async def test_frames_are_streams(
    there: tuple[str, Runtime], client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(f"{there[0]}/exec?container=app") as ws:
        await ws.send_json({"argv": ["copy"], "stdin": True})
        await ws.send_bytes(frame_of(Channel.STDIN, b"hello"))
        await ws.send_bytes(frame_of(Channel.RESIZE, Size(1, 2)))
        await ws.send_bytes(frame_of(Channel.END_OF_INPUT))
        assert await rest_of(ws) == (b"hello", End(0))


async def test_a_terminal_changes_its_size(
    there: tuple[str, Runtime], client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(f"{there[0]}/exec?container=app") as ws:
        await ws.send_json({"argv": ["show-size"], "tty": True, "rows": 30, "columns": 90})
        assert await ws.receive_bytes() == frame_of(Channel.STDOUT, b"30 90\r\n")
        await ws.send_bytes(frame_of(Channel.RESIZE, Size(31, 91)))
        assert await ws.receive_bytes() == frame_of(Channel.STDOUT, b"31 91\r\n")


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/exec", 400, f"{INSTANCE} has several containers: name one of app, side"),
        ("/exec?container=no", 404, f"{INSTANCE} has no container 'no'; it has app, side"),
        ("/attach?container=app&stdin=true", 409, "is a plain process, without a standard input"),
        ("/attach?container=app", 400, "speaks WebSocket: connect to it as such"),
    ],
)
async def test_a_refusal_can_be_read_without_an_upgrade(
    there: tuple[str, Runtime],
    client: aiohttp.ClientSession,
    path: str,
    status: int,
    told: str,
) -> None:
    async with client.get(there[0] + path) as answer:
        assert answer.status == status
        assert told in (await answer.json())["detail"]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ('{"argv": "ls"}', "what is to be executed: argv: Input should be a valid"),
        ("ls", "what is to be executed: the request: Invalid JSON"),
        ('{"argv": []}', "there is no command to run"),
        ('{"argv": ["copy"], "tty": true, "rows": -1}', "no terminal has -1 rows and 80 columns"),
        (b"\x00ls", "the first frame must be text"),
    ],
)
async def test_a_request_that_makes_no_sense_is_told(
    there: tuple[str, Runtime], client: aiohttp.ClientSession, first: str | bytes, told: str
) -> None:
    async with client.ws_connect(f"{there[0]}/exec?container=app") as ws:
        await (ws.send_str(first) if isinstance(first, str) else ws.send_bytes(first))
        _, end = await rest_of(ws)
    assert end is not None
    assert end.exit_code is None
    assert end.detail.startswith(told)


@pytest.mark.parametrize("frame", [b"", b"\x09", b"\x01out", b"\x03{}"])
async def test_a_frame_that_makes_no_sense_ends_it(
    there: tuple[str, Runtime], client: aiohttp.ClientSession, frame: bytes
) -> None:
    async with client.ws_connect(f"{there[0]}/exec?container=app") as ws:
        await ws.send_json({"argv": ["quiet"]})
        await ws.send_bytes(frame)
        _, end = await rest_of(ws)
    assert end is not None
    assert end.detail.startswith("a frame makes no sense: ")


async def test_attached_input_that_nobody_reads_is_told(
    there: tuple[str, Runtime], client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(f"{there[0]}/attach?container=app") as ws:
        await ws.send_bytes(frame_of(Channel.STDIN, b"hello"))
        _, end = await rest_of(ws)
    assert end == End(None, f"{INSTANCE}.app has no standard input: attach to it without")


async def test_nobody_writes_faster_than_the_client_reads(
    there: tuple[str, Runtime], client: aiohttp.ClientSession
) -> None:
    endless = there[1].endless = Endless()
    async with client.ws_connect(f"{there[0]}/exec?container=app") as ws:
        await ws.send_json({"argv": ["yes"]})
        await ws.receive_bytes()
        said = -1
        while said != endless.bytes:  # until the way is full
            said = endless.bytes
            await asyncio.sleep(0.3)
        assert said < MUCH_BYTES
    async with asyncio.timeout(LIMIT_SECONDS):
        await endless.is_closed.wait()


async def test_a_client_is_not_read_faster_than_its_command_reads(
    there: tuple[str, Runtime], client: aiohttp.ClientSession
) -> None:
    endless = there[1].endless = Endless()
    endless.output = _silence  # type: ignore[method-assign]
    timeout = aiohttp.ClientWSTimeout(ws_close=0.1)  # what was sent is still in the way
    async with client.ws_connect(f"{there[0]}/exec?container=app", timeout=timeout) as ws:
        await ws.send_json({"argv": ["deaf"], "stdin": True})
        sent = await _filled(ws)
        assert sent < MUCH_BYTES
        assert len(endless.written) == 1


async def _filled(ws: aiohttp.ClientWebSocketResponse) -> int:
    """Send until nothing more can be sent; how many bytes that took."""
    sent = 0
    with suppress(TimeoutError):
        while sent < MUCH_BYTES:
            async with asyncio.timeout(1.0):
                await ws.send_bytes(frame_of(Channel.STDIN, PIECE))
            sent += len(PIECE)
    return sent


async def _silence() -> AsyncGenerator[tuple[str, bytes], None]:
    await asyncio.Event().wait()
    yield "stdout", b""


async def test_what_is_executed_ends_when_its_client_is_cut_off(
    there: tuple[str, Runtime],
    client: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "DISCONNECT_POLL_SECONDS", 0.01)
    endless = there[1].endless = Endless()
    endless.output = _silence  # type: ignore[method-assign]
    ws = await client.ws_connect(f"{there[0]}/exec?container=app")
    await ws.send_json({"argv": ["quiet"]})
    assert ws._response.connection is not None
    assert ws._response.connection.transport is not None
    ws._response.connection.transport.abort()
    async with asyncio.timeout(LIMIT_SECONDS):
        await endless.is_closed.wait()


async def test_usage_is_measured_on_the_agents_clock(client: aiohttp.ClientSession) -> None:
    async with served("agent") as (address, _):
        base = address.partition("/v1/")[0]
        async with client.get(f"{base}/v1/usage") as answer:
            usage = await answer.json()
    assert usage["node"] == "n1"
    assert usage["measured_at"] > 0
    assert [each["container"] for each in usage["containers"]] == ["app", "side"]
