"""Bearing witness: whether anybody listens at an address, and nothing is said there."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from orchestrator.agent.witness_routes import witness_routes
from orchestrator.model.errors import ConfigError
from orchestrator.process.middleware import problems
from orchestrator.process.witness import Statement, bear_witness
from tests.support.ports import free_port


async def test_where_nobody_listens_it_is_refused() -> None:
    assert await bear_witness(f"http://127.0.0.1:{free_port()}") is Statement.REFUSED


async def test_whoever_listens_is_heard_and_told_nothing() -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.put_nowait(await reader.read())
        writer.close()

    port = free_port()
    async with await asyncio.start_server(listen, "127.0.0.1", port):
        assert await bear_witness(f"https://127.0.0.1:{port}/") is Statement.HEARD
        assert await told.get() == b""


async def test_a_host_that_cannot_be_found_is_unclear() -> None:
    assert await bear_witness("http://nowhere.invalid:7410") is Statement.UNCLEAR


@pytest.mark.parametrize(
    "address", ["", "n1:7410", "ftp://n1", "http://", "http://n1:x", "http://["]
)
async def test_what_is_no_servers_url_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(ConfigError, match="https://node-1:7410"):
        await bear_witness(address)


async def test_an_agent_tells_what_it_finds() -> None:
    app = web.Application(middlewares=[problems])
    app.add_routes(witness_routes())
    async with TestClient(TestServer(app)) as client:
        address = f"http://127.0.0.1:{free_port()}"
        async with client.post("/v1/witness", params={"address": address}) as answer:
            assert await answer.json() == {"statement": "refused"}
        async with client.post("/v1/witness", params={"address": "n1"}) as answer:
            assert answer.status == 400
