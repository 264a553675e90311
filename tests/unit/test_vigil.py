"""Vigils: what counts as a process's death, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from orchestrator.process.presence import Hello
from orchestrator.process.vigil import Suspect, Vigil
from tests.support.ports import free_port

LEADER = Hello("c1", 42)
LIMIT_SECONDS = 60.0
ANSWER_SECONDS = 0.05
LOOKS = 5
"""So many in vain, and a vigil is taken to go on for ever."""

Turn = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(hello: Hello | bytes, status: str = "200 OK") -> Turn:
    """Introduces itself, and hangs up without a word."""

    async def turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        line = hello.line() if isinstance(hello, Hello) else hello
        head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"%x\r\n%s\r\n" % (len(line), line))
        await writer.drain()

    return turn


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def is_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


class FarSide:
    """What is found at the leader's address: one turn for each connection, the last one for all
    further ones; None: nobody listens there any more. The first turn is for every connection
    until the leader is met: one that takes longer than `ANSWER_SECONDS` has met nobody."""

    def __init__(self, turns: list[Turn | None]) -> None:
        self.port = free_port()
        self.looks = 0
        self._turns = turns
        self._is_met = False
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self) -> None:
        if self._turns[0]:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        self._stop_listening()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)

    def on_met(self) -> None:
        self._is_met = True
        self._go_on()

    def jitter(self) -> float:
        """Is drawn once for each look in vain."""
        self.looks += 1
        return 0.0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = self._turns[0]
        assert turn
        task = asyncio.create_task(self._serve(turn, reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(
        self, turn: Turn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        is_over = self._is_met  # each turn after the first one is for one connection
        try:
            await turn(reader, writer)
            if is_over:
                self._go_on()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the vigil does not wait any more
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _go_on(self) -> None:
        if len(self._turns) > 1:
            self._turns.pop(0)
        if self._turns[0] is None:
            self._stop_listening()

    def _stop_listening(self) -> None:
        if self._server:
            self._server.close()


@asynccontextmanager
async def vigil_over(*turns: Turn | None) -> AsyncIterator[tuple[FarSide, asyncio.Task[None]]]:
    far = FarSide(list(turns))
    await far.open()
    suspect = Suspect(LEADER.name, f"http://127.0.0.1:{far.port}/", LEADER.lease_id)
    async with aiohttp.ClientSession() as http, asyncio.timeout(LIMIT_SECONDS):
        vigil = Vigil(http, suspect, far.jitter, on_met=far.on_met, answer_seconds=ANSWER_SECONDS)
        task = asyncio.create_task(vigil.until_dead())
        try:
            yield far, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await far.close()


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param([says(LEADER), None], id="it hung up, and nobody listens any more"),
        pytest.param([says(LEADER), resets, resets, None], id="it closed what it listens on late"),
        pytest.param([says(LEADER), is_silent, None], id="it hung for a while before it died"),
        pytest.param([says(LEADER), says(LEADER), None], id="it was met again in between"),
        pytest.param([says(LEADER), says(Hello("c1", 43))], id="it was started again"),
        pytest.param([says(LEADER), says(Hello("c1", 0))], id="it does not stand yet"),
    ],
)
async def test_this_is_death(turns: list[Turn | None]) -> None:
    async with vigil_over(*turns) as (_far, task):
        await task


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param([None], id="nobody was ever met there"),
        pytest.param([says(Hello("c1", 43))], id="only its successor was ever met"),
        pytest.param([says(LEADER), is_silent], id="it hangs, or the network is gone"),
        pytest.param([says(LEADER), resets], id="something in between resets"),
        pytest.param([says(LEADER)], id="it hangs up again and again"),
        pytest.param([says(LEADER), says(Hello("c2", 43))], id="a load balancer chose another"),
        pytest.param([says(LEADER), says(b"{}\n")], id="something else answers"),
        pytest.param([says(LEADER), says(b"\xff\n")], id="something else answers in its own way"),
        pytest.param([says(LEADER), says(LEADER, "401 Unauthorized")], id="we are not let in"),
        pytest.param([says(LEADER), says(b"x" * 300_000)], id="it says too much"),
        pytest.param([says(LEADER), says(b"[" * 50_000 + b"\n")], id="it says it deviously"),
    ],
)
async def test_this_is_left_to_the_lease(turns: list[Turn | None]) -> None:
    async with vigil_over(*turns) as (far, task):
        while far.looks < LOOKS and not task.done():
            await asyncio.sleep(0.001)
        assert not task.done()


async def test_an_address_that_is_no_url_is_left_to_the_lease() -> None:
    looks: list[float] = []

    def jitter() -> float:
        looks.append(0.0)
        return 0.0

    async with aiohttp.ClientSession() as http, asyncio.timeout(LIMIT_SECONDS):
        suspect = Suspect("c1", "not a url", 42)
        task = asyncio.create_task(Vigil(http, suspect, jitter).until_dead())
        while len(looks) < LOOKS and not task.done():
            await asyncio.sleep(0.001)
        assert not task.done()
        task.cancel()
