"""Presence: a process introduces itself, for as long as it serves, to who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from orchestrator.process.client import client_session
from orchestrator.process.health import Health
from orchestrator.process.http import DRAIN_SECONDS, new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.presence import PATH, Hello, Presence
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.process.vigil import Suspect, Vigil
from tests.support.ports import free_port

LIMIT_SECONDS = 20.0


def settings_with(**flags: object) -> HttpSettings:
    return load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}", **flags}).settings


@asynccontextmanager
async def served(settings: HttpSettings, presence: Presence) -> AsyncIterator[None]:
    app = new_app(settings, new_registry("controller"), Health())
    presence.mount(app)
    async with serving(app, settings):
        yield


async def test_it_says_its_name_and_the_lease_that_it_has_announced() -> None:
    settings, presence = settings_with(), Presence("c1")
    async with served(settings, presence), client_session(settings) as http:
        for lease_id in (0, 2**63 - 1):
            if lease_id:
                presence.announce(lease_id)
            async with http.get(settings.url + PATH) as answer:
                assert Hello.parse(await answer.content.readline()) == Hello("c1", lease_id)


async def test_whoever_has_no_token_is_told_nothing(tmp_path: Path) -> None:
    token_file = tmp_path / "tokens"
    token_file.write_text("0123456789abcdef0123456789abcdef\n")
    token_file.chmod(0o600)
    settings = settings_with(token_file=token_file)
    async with served(settings, Presence("c1")), aiohttp.ClientSession() as stranger:
        async with stranger.get(settings.url + PATH) as answer:
            assert answer.status == 401
        async with client_session(settings) as friend, friend.get(settings.url + PATH) as answer:
            assert answer.status == 200


async def test_a_server_that_shuts_down_is_not_held_up_and_is_known_to_be_gone() -> None:
    settings, presence = settings_with(), Presence("c1")
    presence.announce(42)
    loop = asyncio.get_running_loop()
    async with client_session(settings) as http, asyncio.timeout(LIMIT_SECONDS):
        async with served(settings, presence):
            async with http.get(settings.url + PATH) as answer:
                await answer.content.readline()
                is_met = asyncio.Event()
                suspect = Suspect("c1", settings.url, 42)
                vigil = Vigil(http, suspect, lambda: 0.0, on_met=is_met.set)
                task = asyncio.create_task(vigil.until_dead())
                await is_met.wait()
                assert not task.done()
            began = loop.time()
        assert loop.time() - began < DRAIN_SECONDS
        await task


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]", b'{"name": "c1"}', b'{"name": 1, "lease_id": 2}']
)
def test_what_is_no_introduction_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"introduced|Expecting"):
        Hello.parse(line)
