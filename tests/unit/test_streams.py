"""Answers that go on for as long as their client listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.process import streams
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.process.streams import while_connected
from tests.support.ports import free_port

LIMIT_SECONDS = 10.0


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
    app = new_app(settings, new_registry("agent"), Health())
    app.add_routes([web.get("/stream", handler)])
    async with serving(app, settings):
        yield f"{settings.url}/stream"


async def test_a_silent_stream_ends_when_its_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "DISCONNECT_POLL_SECONDS", 0.01)
    told: list[str] = []
    ended = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async with while_connected(request):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("cancelled")
                raise
        told.append("went on")
        ended.set()
        return response

    async with served(silent) as url, aiohttp.ClientSession() as client:
        async with client.get(url) as answer:
            assert answer.status == 200
            assert not ended.is_set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await ended.wait()
    assert told == ["cancelled", "went on"]


async def test_a_stream_that_is_heard_out_ends_as_it_is() -> None:
    async def brief(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async with while_connected(request):
            await response.write(b"all of it")
            await response.write_eof()
        return response

    async with served(brief) as url, aiohttp.ClientSession() as client, client.get(url) as answer:
        assert await answer.read() == b"all of it"


async def test_a_write_to_nobody_ends_the_stream_and_a_bug_does_not_pass_for_one() -> None:
    found: list[BaseException] = []

    async def failing(request: web.Request) -> web.Response:
        for error in (BrokenPipeError(), ZeroDivisionError()):
            try:
                async with while_connected(request):
                    raise error
            except* ZeroDivisionError as group:
                found.extend(group.exceptions)
        return web.Response()

    async with served(failing) as url, aiohttp.ClientSession() as client, client.get(url):
        assert [type(each) for each in found] == [ZeroDivisionError]
