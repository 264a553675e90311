"""`--wait`, `--watch` and `logs --follow`: what lasts, and outlives the server it began on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace

import pytest
from aiohttp import web

from orchestrator.cli.answers import WatchEvent
from orchestrator.cli.client import ApiClient
from orchestrator.cli.commands.get import Question
from orchestrator.cli.errors import NotFound, ServerUnreachable, WaitTimeout
from orchestrator.cli.following import follow_logs, follow_watch
from orchestrator.cli.kinds import Kind
from orchestrator.cli.output import Format
from orchestrator.cli.waiting import Wait, gap_to_gone, gap_to_running
from orchestrator.cli.watching import watch_on
from orchestrator.model.answers import LogEntry, WatchType
from orchestrator.model.manifest import parse_manifests
from orchestrator.model.views import Workload
from orchestrator.model.workload import WorkloadKey, WorkloadStatus
from tests.support.api import KEYS, World, world
from tests.support.orc import WEB, Orc
from tests.support.ports import free_port
from tests.support.served_api import ServedApi

LIMIT_SECONDS = 20.0
KEY = WorkloadKey("default", "web")
ROW = KEYS.workload_status(KEY)
(DEFINITION,) = parse_manifests(WEB)
RUNNING = WorkloadStatus(1, desired=3, running=3, updated=3)


def workload(**status: object) -> Workload:
    changed = replace(RUNNING, **status)  # type: ignore[arg-type]
    return Workload("web", "default", 1, 7, False, DEFINITION, changed)


@pytest.mark.parametrize(
    ("status", "gap"),
    [
        ({}, ""),
        ({"desired": 2}, "the leader has not taken it up yet"),
        ({"generation": 0}, "the leader has not taken it up yet"),
        ({"updated": 2}, "2 of 3 replicas run"),
        ({"updated": 0, "waiting": ("no room", "and more")}, "0 of 3 replicas run; no room"),
        ({"running": 4}, "instances still to be stopped: 1"),
        ({"stopping": 2}, "instances still to be stopped: 2"),
        ({"failed": 1}, ""),
    ],
)
def test_it_runs_when_all_and_only_the_wanted_replicas_do(
    status: dict[str, object], gap: str
) -> None:
    assert gap_to_running(workload(**status)) == gap


def test_what_was_deleted_meanwhile_will_never_run() -> None:
    for gone in (None, replace(workload(), is_deleting=True, spec=None)):
        with pytest.raises(NotFound):
            gap_to_running(gone)


def test_it_is_gone_when_nothing_is_known_of_it() -> None:
    assert gap_to_gone(None) == ""
    assert gap_to_gone(workload(stopping=1)) == "instances left: 4"


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@asynccontextmanager
async def two_servers(there: World) -> AsyncIterator[tuple[ApiClient, asyncio.Event]]:
    """A client of two servers; the first one goes away when the event is set."""
    leaving = asyncio.Event()
    addresses: asyncio.Queue[str] = asyncio.Queue()

    async def first() -> None:
        async with there.replica("c1") as replica:
            addresses.put_nowait(replica.api.address)
            await leaving.wait()

    async with there.replica("c2") as second, asyncio.TaskGroup() as group:
        group.create_task(first())
        servers = [await addresses.get(), second.api.address]
        async with ApiClient(servers) as client, asyncio.timeout(LIMIT_SECONDS):
            yield client, leaving
        leaving.set()


async def test_a_wait_outlives_the_server_that_it_began_on(there: World) -> None:
    async with two_servers(there) as (client, leaving):
        await client.apply(DEFINITION)
        said: asyncio.Queue[str] = asyncio.Queue()
        waiting = asyncio.create_task(Wait(client, 60.0, said.put_nowait).until_running(KEY))
        assert await said.get() == "workload default/web: the leader has not taken it up yet"
        leaving.set()
        await there.put(ROW, replace(RUNNING, running=1, updated=1))
        assert await said.get() == "workload default/web: 1 of 3 replicas run"
        await there.put(ROW, RUNNING)
        await waiting


async def test_a_wait_ends_when_the_workload_is_deleted(there: World) -> None:
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await client.apply(DEFINITION)
        said: asyncio.Queue[str] = asyncio.Queue()
        waiting = asyncio.create_task(Wait(client, 60.0, said.put_nowait).until_running(KEY))
        await said.get()
        await client.delete_workload(KEY)
        with pytest.raises(NotFound, match="deleted in the meantime"):
            await waiting


@pytest.mark.slow
async def test_a_wait_that_takes_too_long_says_what_is_missing(there: World) -> None:
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await client.apply(DEFINITION)
        await there.put(ROW, replace(RUNNING, updated=2, waiting=("no node has room",)))
        with pytest.raises(WaitTimeout, match="2 of 3 replicas run; no node has room, after"):
            await Wait(client, 0.3, lambda _: None).until_running(KEY)
        await client.delete_workload(KEY)
        with pytest.raises(WaitTimeout, match="instances left: 3, after"):
            await Wait(client, 0.3, lambda _: None).until_gone(KEY)


async def test_a_watch_that_changes_servers_tells_everything_once(there: World) -> None:
    async with two_servers(there) as (client, leaving):
        for name in ("keeps", "changes", "goes"):
            await client.apply(replace(DEFINITION, name=name))
        told: list[tuple[str, str]] = []
        async with aclosing(follow_watch(client, Workload)) as events:
            await _collect(events, told, lambda event: event.type is WatchType.SYNC)
            leaving.set()
            await client.scale(WorkloadKey("default", "changes"), 9)
            await client.delete_workload(WorkloadKey("default", "goes"))
            await client.apply(replace(DEFINITION, name="new"))
            await _collect(events, told, lambda _: len(told) == 6)
    assert sorted(told) == [
        *[("ADDED", name) for name in ("changes", "goes", "keeps", "new")],
        ("DELETED", "goes"),
        ("MODIFIED", "changes"),
    ]


async def _collect(
    events: AsyncIterator[WatchEvent[Workload]],
    told: list[tuple[str, str]],
    is_last: Callable[[WatchEvent[Workload]], bool],
) -> None:
    async for event in events:
        if event.type is not WatchType.SYNC:
            told.append((event.type.value, event.identity.name))
        if is_last(event):
            return


async def test_a_watch_that_never_began_is_not_waited_for() -> None:
    async with ApiClient([f"http://127.0.0.1:{free_port()}"]) as client:
        with pytest.raises(ServerUnreachable):
            await anext(follow_watch(client, Workload))


async def _shown(capsys: pytest.CaptureFixture[str], text: str, so_far: str = "") -> str:
    """What was printed, once `text` is in it."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while text not in so_far:
            await asyncio.sleep(0.01)
            so_far += capsys.readouterr().out
    return so_far


async def test_a_watched_table_goes_on_with_a_row_for_each_change(
    there: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await client.apply(DEFINITION)
        question = Question(Kind.WORKLOADS, namespace="default")
        watching = asyncio.create_task(watch_on(client, question, Format.TABLE))
        await _shown(capsys, "web ")
        await there.put(ROW, WorkloadStatus(1, attempt_floor=7))
        await client.scale(KEY, 5)
        assert await _shown(capsys, "\n") == "web   5        0        0        -\n"
        await client.apply(replace(DEFINITION, name="a-longer-name"))
        assert await _shown(capsys, "\n") == "a-longer-name  3        0        0        -\n"
        await client.delete_workload(KEY)
        assert (await _shown(capsys, "\n")).split() == ["web", "0", "0", "0", "being", "deleted"]
        await there.drop(ROW)
        assert (await _shown(capsys, "\n")).split() == ["web", "-", "-", "-", "deleted"]
        watching.cancel()


async def test_watched_json_is_a_line_for_each_state(
    there: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with there.replica() as replica, ApiClient([replica.api.address]) as client:
        await client.apply(DEFINITION)
        question = Question(Kind.WORKLOADS, ("web",), "default")
        watching = asyncio.create_task(watch_on(client, question, Format.JSON))
        first = await _shown(capsys, "\n")
        await client.scale(KEY, 5)
        second = await _shown(capsys, "\n")
        assert [json.loads(line)["spec"]["replicas"] for line in (first, second)] == [3, 5]
        watching.cancel()


async def test_watched_instances_are_those_asked_for(
    there: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with ServedApi() as served:
        for node in ("node-1", "node-2"):
            served.add_node(node)
        served.add_instance("default.web.0.1", "node-1")
        served.add_instance("default.web.1.1", "node-2")
        served.add_instance("default.db.0.1", "node-1")
        question = Question(Kind.INSTANCES, namespace="default", workload="web", node="node-1")
        async with ApiClient(served.servers) as client:
            watching = asyncio.create_task(watch_on(client, question, Format.NAME))
            assert await _shown(capsys, "\n") == "default.web.0.1\n"
            watching.cancel()


def test_apply_scale_and_delete_wait_until_it_is_so() -> None:
    with ServedApi(2) as served, served.leading():
        orc = Orc(served.servers)
        assert orc.succeeds("apply", "-f", "-", "--wait", stdin=WEB) == (
            "workload default/web created\nworkload default/web is running\n"
        )
        assert orc.succeeds("scale", "web", "2", "--wait").endswith("web is running\n")
        assert orc.succeeds("scale", "web", "0", "--wait").endswith("web is scaled to 0\n")
        assert orc.succeeds("delete", "wl", "web", "--wait").endswith("web is gone\n")
        assert orc("get", "wl", "web").exit_code == 4


@pytest.mark.slow
def test_a_wait_that_is_over_has_its_own_exit_code_and_says_what_waits() -> None:
    with ServedApi() as served, served.leading(at_most=2):
        orc = Orc(served.servers)
        result = orc("apply", "-f", "-", "--wait", "--timeout", "0.5", stdin=WEB)
        assert result.exit_code == 5
        assert result.stdout == "workload default/web created\n"
        assert "workload default/web: 2 of 3 replicas run; no node has room" in result.stderr
        assert orc("scale", "web", "1", "--wait", "--timeout", "soon").exit_code == 2


def test_logs_of_a_workload_begin_with_the_instance_and_of_one_with_nothing() -> None:
    with ServedApi() as served:
        orc = Orc(served.servers)
        orc.succeeds("apply", "-f", "-", stdin=WEB)
        served.add_node("node-1")
        served.add_instance("default.web.0.1", "node-1", "one", "\x1b[31mtwo\x1b[0m")
        served.add_instance("default.web.1.1", "node-1", "three")
        assert sorted(orc.succeeds("logs", "web").splitlines()) == [
            "default.web.0.1 | \x1b[31mtwo\x1b[0m",
            "default.web.0.1 | one",
            "default.web.1.1 | three",
        ]
        assert orc.succeeds("logs", "default.web.0.1", "--tail", "1") == "\x1b[31mtwo\x1b[0m\n"
        time, text = orc.succeeds("logs", "default.web.1.1", "-t").split()
        assert (time[4], text) == ("-", "three")
        assert "did you mean 'web'?" in orc("logs", "wob").stderr
        assert orc("logs", "default.web.0.2").exit_code == 4


@pytest.mark.slow
async def test_followed_logs_outlive_their_server_and_tell_each_line_once() -> None:
    with ServedApi(2) as served:
        served.add_node("node-1")
        served.add_instance("default.web.0.1", "node-1", "one", "two")
        async with ApiClient(served.servers) as client, asyncio.timeout(LIMIT_SECONDS):
            lines = follow_logs(client, "default.web.0.1", tail=1)
            assert await _texts(lines, 1) == ["two"]
            await asyncio.to_thread(served.stop, 0)
            served.write_lines("default.web.0.1", "three", "four")
            assert await _texts(lines, 2) == ["three", "four"]
            await lines.aclose()


@asynccontextmanager
async def log_server(*answers: list[LogEntry]) -> AsyncIterator[str]:
    """A server that gives each answer in its turn, and breaks off all but the last one."""
    left = list(answers)

    async def logs(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for line in left.pop(0):
            await response.write(json.dumps(asdict(line)).encode() + b"\n")
        if left:
            assert request.transport is not None
            request.transport.close()
        return response

    app = web.Application()
    app.add_routes([web.get("/v1/instances/default.web.0.1/logs", logs)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def log_lines(time: str, texts: str) -> list[LogEntry]:
    return [LogEntry("default.web.0.1", "app", time, "stdout", text) for text in texts]


async def test_a_followed_log_that_was_silent_so_far_outlives_its_server_too() -> None:
    async with (
        log_server([], log_lines("2030-01-01T00:00:01Z", "a")) as url,
        ApiClient([url]) as client,
    ):
        lines = follow_logs(client, "default.web.0.1")
        assert [line.text async for line in lines] == ["a"]


async def test_a_followed_log_that_breaks_off_amid_lines_of_one_time_loses_none() -> None:
    whole = log_lines("2030-01-01T00:00:01Z", "abcdef")
    async with log_server(whole[:3], whole[:5], whole) as url, ApiClient([url]) as client:
        lines = follow_logs(client, "default.web.0.1")
        assert "".join([line.text async for line in lines]) == "abcdef"


async def _texts(lines: AsyncIterator[LogEntry], count: int) -> list[str]:
    return [(await anext(lines)).text for _ in range(count)]


@pytest.mark.slow
def test_an_interrupt_ends_a_watch_quietly() -> None:
    with ServedApi() as served:
        served.add_node("node-1")
        code = "from orchestrator.cli.app import orc; orc(prog_name='orc')"
        watch = ("--server", served.servers[0], "get", "nodes", "-w")
        with subprocess.Popen(
            [sys.executable, "-c", code, *watch],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith("NAME")
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_SECONDS) == 130
            assert process.stderr.read().strip() == ""
