"""`ApiClient`: fail-over between servers, what is repeated and what it comes to, and trust."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.api.routes import mount_api
from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import (
    Misunderstood,
    NotFound,
    NotNow,
    Refused,
    ServerUnreachable,
)
from orchestrator.cli.transport import Patience
from orchestrator.model.answers import WatchType
from orchestrator.model.errors import ConfigError
from orchestrator.model.manifest import parse_manifests
from orchestrator.model.views import Workload
from orchestrator.model.workload import WorkloadKey
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.process.tls import client_tls
from orchestrator.process.tokens import read_tokens
from store.memory.meanness import Meanness
from tests.support.api import Replica, World, world
from tests.support.certificates import Authority
from tests.support.orc import WEB
from tests.support.ports import free_port
from tests.support.proxy import TcpProxy

KEY = WorkloadKey("default", "web")
(DEFINITION,) = parse_manifests(WEB)
HASTY = Patience(connect_seconds=1.0, answer_seconds=0.5, silence_seconds=0.5)
PATIENT_SECONDS = 10.0


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    async with there.replica() as made:
        yield made


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """A server that takes connections and says nothing, as a frozen process does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def answering(
    answer: Callable[[bytes], Awaitable[bytes]],
) -> AsyncIterator[str]:
    """A server that gives `answer` to each request's first bytes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await answer(await reader.read(64 * 1024)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_server_that_is_not_there_is_passed_over(replica: Replica) -> None:
    async with ApiClient([nobody(), replica.api.address]) as client:
        assert (await client.apply(DEFINITION)).outcome == "created"
        assert client.servers[0] == replica.api.address


@pytest.mark.slow
async def test_a_server_that_is_frozen_is_passed_over(replica: Replica) -> None:
    async with mute() as frozen, ApiClient([frozen, replica.api.address], patience=HASTY) as client:
        assert (await client.apply(DEFINITION)).outcome == "created"
        assert [each.name for each in (await client.workloads()).items] == ["web"]


async def test_a_server_that_cannot_serve_now_is_passed_over(
    there: World, replica: Replica
) -> None:
    async with there.replica("cut-off", write_patience_seconds=0.1) as cut_off:
        there.cluster.treat(Meanness(refused=1.0), "cut-off")
        servers = [cut_off.api.address, replica.api.address]
        async with ApiClient(servers[:1]) as client:
            with pytest.raises(NotNow):
                await client.apply(DEFINITION)
        async with ApiClient(servers) as client:
            assert (await client.apply(DEFINITION)).outcome == "created"


@pytest.mark.slow
async def test_what_every_server_failed_with_is_told() -> None:
    one, two = nobody(), nobody()
    async with mute() as frozen, ApiClient([one, frozen, two], patience=HASTY) as client:
        with pytest.raises(ServerUnreachable) as caught:
            await client.nodes()
    assert str(caught.value).splitlines() == [
        "cannot reach a server:",
        f"{one}: connection refused",
        f"{frozen}: no answer in time",
        f"{two}: connection refused",
    ]


async def test_a_delete_whose_answer_was_lost_is_done_and_no_error(replica: Replica) -> None:
    async def pass_on_and_hang_up(_request: bytes) -> bytes:
        await replica.call("DELETE", "/v1/workloads/default/web")
        return b""

    async with answering(pass_on_and_hang_up) as lossy:
        async with ApiClient([lossy, replica.api.address]) as client:
            await client.apply(DEFINITION)
        async with ApiClient([lossy, replica.api.address]) as client:
            await client.delete_workload(KEY)
        async with ApiClient([nobody(), replica.api.address]) as client:
            with pytest.raises(NotFound):
                await client.delete_workload(KEY)


async def test_one_reads_ones_own_writes_through_another_server(
    there: World, replica: Replica
) -> None:
    async with there.replica("c2") as other:
        there.cluster.treat(Meanness(watch_seconds=(0.2, 0.2)), "c2")
        proxy = TcpProxy(int(replica.api.address.rpartition(":")[2]))
        await proxy.start()
        servers = [f"http://127.0.0.1:{proxy.port}", other.api.address]
        async with ApiClient(servers) as client:
            await client.apply(DEFINITION)
            await proxy.close()
            assert (await client.workload(KEY)).generation == 1
            assert client.servers[0] == other.api.address


async def test_refusals_carry_their_status_and_all_problems(replica: Replica) -> None:
    async with ApiClient([replica.api.address]) as client:
        with pytest.raises(Refused) as caught:
            await client.apply(replace(DEFINITION, replicas=-1, stop_grace_seconds=-1))
        assert caught.value.status == 400
        assert len(caught.value.problems) == 2
        with pytest.raises(NotFound, match="no workload default/web"):
            await client.workload(KEY)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"items":1}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"items":[{}]}',
    ],
)
async def test_an_answer_of_something_else_is_not_understood(answer: bytes) -> None:
    async def give(_request: bytes) -> bytes:
        return answer

    async with answering(give) as server, ApiClient([server]) as client:
        with pytest.raises(Misunderstood):
            await client.nodes()


async def test_an_error_page_of_something_else_is_told_as_it_is() -> None:
    async def give(_request: bytes) -> bytes:
        return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\n<b>!"

    async with answering(give) as server, ApiClient([server]) as client:
        with pytest.raises(Refused, match="the server answered 403"):
            await client.nodes()


async def test_a_redirect_is_not_followed() -> None:
    followed: list[bytes] = []

    async def note(request: bytes) -> bytes:
        followed.append(request)
        return b""

    async with answering(note) as elsewhere:

        async def redirect(_request: bytes) -> bytes:
            return f"HTTP/1.1 307 Elsewhere\r\nLocation: {elsewhere}\r\n\r\n".encode()

        async with answering(redirect) as server, ApiClient([server], token="secret") as client:
            with pytest.raises(Refused, match="the server answered 307"):
                await client.nodes()
            with pytest.raises(Refused, match="the server answered 307"):
                await anext(client.logs(KEY))
    assert followed == []


async def test_a_watch_tells_what_there_is_and_what_changes(replica: Replica) -> None:
    async with ApiClient([replica.api.address]) as client, asyncio.timeout(PATIENT_SECONDS):
        await client.apply(DEFINITION)
        watch = client.watch(Workload, namespace="default", name="web")
        assert [(await anext(watch)).type for _ in range(2)] == [WatchType.ADDED, WatchType.SYNC]
        await client.scale(KEY, 5)
        event = await anext(watch)
        assert event.type is WatchType.MODIFIED
        assert event.object is not None
        assert event.object.spec is not None
        assert event.object.spec.replicas == 5
        await watch.aclose()


@asynccontextmanager
async def guarded(replica: Replica, directory: Path) -> AsyncIterator[tuple[str, Path, Path]]:
    """The replica behind TLS and a token: its URL, the token's file and the CA's."""
    authority = Authority(directory)
    pair = authority.issue("server")
    token = directory / "token"
    token.write_text("a-token-of-enough-length\nthe-one-that-comes-next\n")
    token.chmod(0o600)
    flags = {
        "bind": f"127.0.0.1:{free_port()}",
        "tls_cert_file": str(pair.certificate),
        "tls_key_file": str(pair.key),
        "token_file": str(token),
    }
    settings = load_settings(HttpSettings, flags).settings
    app = new_app(settings, new_registry("controller"), Health())
    mount_api(app, replica.api)
    async with serving(app, settings):
        yield settings.url, token, authority.ca


async def test_token_and_authority_let_in(replica: Replica, tmp_path: Path) -> None:
    async with guarded(replica, tmp_path) as (url, token, ca):
        async with ApiClient([url], token=read_tokens(token)[0], tls=client_tls(ca)) as client:
            assert (await client.cluster()).replica == "c1"
        async with ApiClient([url], tls=client_tls(ca)) as client:
            with pytest.raises(Refused) as refused:
                await client.cluster()
            assert refused.value.status == 401
        async with ApiClient([url], token=read_tokens(token)[0]) as client:
            with pytest.raises(ServerUnreachable, match="certificate is not trusted"):
                await client.cluster()


def test_files_that_hold_no_token_or_certificate_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for read in (read_tokens, client_tls):
        with pytest.raises(ConfigError, match="empty"):
            read(empty)
        with pytest.raises(ConfigError, match="missing"):
            read(tmp_path / "missing")
