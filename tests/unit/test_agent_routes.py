"""The agent's HTTP routes: who reads a log, and for how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from orchestrator.agent.routes import agent_routes
from orchestrator.process import streams
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.protocol import ALL_LINES, ContainerSpec, LogLine, LogQuery
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from tests.support.ports import free_port

LIMIT_SECONDS = 10.0
INSTANCE = "default.web.0.1"
READERS = 5


class WatchedRuntime(SimulatedRuntime):
    """`readers` says how many logs are being read; `changed` is set when that changes."""

    readers = 0
    changed: asyncio.Event

    def logs(self, container_id: str, query: LogQuery = ALL_LINES) -> AsyncGenerator[LogLine, None]:
        return self._counted(super().logs(container_id, query))

    async def _counted(self, lines: AsyncGenerator[LogLine, None]) -> AsyncGenerator[LogLine, None]:
        self._count(1)
        try:
            async with aclosing(lines):
                async for line in lines:
                    yield line
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.readers += change
        self.changed.set()

    async def until_read_by(self, readers: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.readers != readers:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, WatchedRuntime]]:
    """The address of the log of a container that has said one line and is quiet since."""
    program = Program(output=lambda _spec: [("stdout", "hello")])
    runtime = WatchedRuntime(SimulatedHost(time.monotonic, random.Random(1), default=program))
    runtime.changed = asyncio.Event()
    await runtime.create(ContainerSpec(f"{INSTANCE}.app", INSTANCE, "app", 1, ("serve",)))
    settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
    app = new_app(settings, new_registry("agent"), Health())
    app.add_routes(agent_routes("n1", runtime))
    async with serving(app, settings):
        yield f"{settings.url}/v1/instances/{INSTANCE}/logs", runtime


async def test_a_log_is_lines_of_json() -> None:
    async with served() as (url, _), aiohttp.ClientSession() as client, client.get(url) as answer:
        line = await answer.json(content_type="application/x-ndjson")
    assert line.pop("time")
    assert line == {"instance": INSTANCE, "container": "app", "stream": "stdout", "text": "hello"}


async def test_a_follower_that_leaves_a_quiet_container_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "DISCONNECT_POLL_SECONDS", 0.01)
    async with served() as (url, runtime), aiohttp.ClientSession() as client:
        answers = [await client.get(url, params={"follow": "true"}) for _ in range(READERS)]
        for answer in answers:
            assert b"hello" in await answer.content.readline()
        await runtime.until_read_by(READERS)
        for answer in answers:
            answer.close()
        await runtime.until_read_by(0)


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("?container=side", 404, "has no container 'side'; it has app"),
        ("?tail=some", 400, "tail is 'some': it must be a number of lines"),
    ],
)
async def test_a_wrong_question_is_told(query: str, status: int, sentence: str) -> None:
    async with (
        served() as (url, _),
        aiohttp.ClientSession() as client,
        client.get(url + query) as answer,
    ):
        assert answer.status == status
        assert sentence in await answer.text()
