"""Vigils: what counts as a process's death, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from orchestrator.process.presence import Hello
from orchestrator.process.vigil import Suspect, Vigil
from tests.support.ports import free_port

LEADER = Hello("c1", 42)
LIMIT_SECONDS = 20.0
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
    further ones; None: nobody listens there any more."""

    def __init__(self, turns: list[Turn | None]) -> None:
        self.port = free_port()
        self.looks = 0
        self.looked = asyncio.Condition()
        self._turns = turns
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        if self._turns[0]:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def close(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        assert turn
        await turn(reader, writer)
        if self._turns[0] is None:
            self.close()
        writer.close()

    def jitter(self) -> float:
        """Is drawn once for each look in vain."""
        self.looks += 1
        return 0.0


@asynccontextmanager
async def vigil_over(*turns: Turn | None) -> AsyncIterator[tuple[FarSide, asyncio.Task[None]]]:
    far = FarSide(list(turns))
    await far.open()
    suspect = Suspect(LEADER.name, f"http://127.0.0.1:{far.port}/", LEADER.lease_id)
    async with aiohttp.ClientSession() as http, asyncio.timeout(LIMIT_SECONDS):
        vigil = Vigil(http, suspect, far.jitter, answer_seconds=0.05)
        task = asyncio.create_task(vigil.until_dead())
        try:
            yield far, task
        finally:
            task.cancel()
            far.close()
            await asyncio.gather(task, return_exceptions=True)


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
