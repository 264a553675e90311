"""Logs over HTTP, read from agents: real little servers that say what the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from orchestrator.api.log_sources import open_sources
from orchestrator.api.queries import LogsQuery
from orchestrator.model.instance import InstanceName, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey
from tests.support.api import KEYS, Replica, World, manifest, world
from tests.support.ports import free_port

WEB = "/v1/workloads/default/web"
ONE = InstancePlace("n1", InstanceName("default", "web", 0, 1))
TWO = InstancePlace("n2", InstanceName("default", "web", 1, 1))
LATER = InstancePlace("n1", InstanceName("default", "web", 0, 2))


@dataclass
class LittleAgent:
    """Answers with the lines of each instance; a followed log waits for `more` lines, and is
    broken off by None."""

    url: str
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    more: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)
    asked: list[dict[str, str]] = field(default_factory=list)
    refuses: web.Response | None = None

    def says(self, place: InstancePlace, time: str, text: str) -> None:
        self.lines.setdefault(str(place.instance), []).append(line(place, time, text))

    async def logs(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if self.refuses:
            return self.refuses
        instance = request.match_info["instance"]
        if instance not in self.lines:
            problem = {"detail": f"this node has no containers of {instance}", "status": 404}
            return web.json_response(problem, status=404)
        response = web.StreamResponse()
        await response.prepare(request)
        kept = self.lines[instance]
        if tail := request.query.get("tail"):
            kept = kept[len(kept) - int(tail) :]
        whole = b"".join(json.dumps(each).encode() + b"\n" for each in kept)
        await response.write(whole[:10])
        await response.write(whole[10:])
        while request.query["follow"] == "true":
            more = await self.more.get()
            if more is None:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(json.dumps(more).encode() + b"\n")
        return response


def line(place: InstancePlace, time: str, text: str) -> dict[str, Any]:
    return {
        "instance": str(place.instance),
        "container": "app",
        "time": time,
        "stream": "stdout",
        "text": text,
    }


@asynccontextmanager
async def little_agent() -> AsyncIterator[LittleAgent]:
    port = free_port()
    agent = LittleAgent(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.add_routes([web.get("/v1/instances/{instance}/logs", agent.logs)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield agent
    finally:
        await runner.cleanup()


@dataclass
class Scene:
    there: World
    replica: Replica
    agent: LittleAgent

    async def start(
        self,
        place: InstancePlace,
        status: WorkloadInstanceStatus = WorkloadInstanceStatus.RUNNING,
    ) -> None:
        assigned_at = await self.there.assign(place)
        await self.replica.view.reached(await self.there.report(place, assigned_at, status))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A workload, an agent that listens as n1, and a n2 at whose address nobody does."""
    async with world() as there, there.replica() as replica, little_agent() as agent:
        await replica.call("PUT", WEB, manifest())
        await there.add_node("n1", agent.url)
        await there.add_node("n2", f"http://127.0.0.1:{free_port()}")
        yield Scene(there, replica, agent)


async def test_an_instances_log_is_passed_on(scene: Scene) -> None:
    await scene.start(ONE)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "one")
    scene.agent.says(ONE, "2030-01-01T00:00:02Z", "zwölf")

    path = "/v1/instances/default.web.0.1/logs?container=app&tail=5"
    async with scene.replica.stream(path) as lines:
        assert await lines.rest() == scene.agent.lines["default.web.0.1"]

    assert scene.agent.asked == [{"follow": "false", "container": "app", "tail": "5"}]


@pytest.mark.slow
async def test_a_followed_log_comes_as_it_comes_and_is_taken_up_when_it_breaks_off(
    scene: Scene,
) -> None:
    await scene.start(ONE)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "old")
    async with scene.replica.stream("/v1/instances/default.web.0.1/logs?follow=true") as lines:
        assert (await lines.next())["text"] == "old"
        await scene.agent.more.put(line(ONE, "2030-01-01T00:00:02Z", "new"))
        assert (await lines.next())["text"] == "new"
        await scene.agent.more.put(None)
        broken = await lines.next()
        assert broken["stream"] == "system"
        assert broken["text"].startswith(f"node n1 cannot be reached at {scene.agent.url} (")
        await scene.agent.more.put(line(ONE, "2030-01-01T00:00:03Z", "again"))
        assert (await lines.next())["text"] == "again"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "first", "rest"),
    [
        ("follow=true", ["a", "b", "c"], ["d", "e", "f", "g"]),
        ("follow=true&tail=2", ["b", "c"], ["g"]),
    ],
)
async def test_what_was_written_while_an_agent_was_away_is_told_when_it_is_back(
    scene: Scene, query: str, first: list[str], rest: list[str]
) -> None:
    """A whole chunk of output has one time, and a tail may begin within it."""
    await scene.start(ONE)
    for text in "abc":
        scene.agent.says(ONE, "2030-01-01T00:00:01Z", text)
    async with scene.replica.stream(f"/v1/instances/default.web.0.1/logs?{query}") as lines:
        assert [(await lines.next())["text"] for _ in first] == first
        for text in "def":
            scene.agent.says(ONE, "2030-01-01T00:00:01Z", text)
        scene.agent.says(ONE, "2030-01-01T00:00:02Z", "g")
        await scene.agent.more.put(None)
        assert (await lines.next())["stream"] == "system"
        assert [(await lines.next())["text"] for _ in rest] == rest
    assert [asked.get("tail") for asked in scene.agent.asked][1:] == [None]


async def test_a_workloads_logs_are_merged_by_time(scene: Scene) -> None:
    await scene.start(ONE, WorkloadInstanceStatus.FAILED)
    await scene.start(LATER)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "a")
    scene.agent.says(ONE, "2030-01-01T00:00:04Z", "d")
    scene.agent.says(ONE, "2030-01-01T00:00:03Z", "after d, whatever its clock says")
    scene.agent.says(LATER, "2030-01-01T00:00:02Z", "b")
    scene.agent.says(LATER, "2030-01-01T00:00:03Z", "c")
    scene.agent.says(LATER, "2030-01-01T00:00:05Z", "e")

    async with scene.replica.stream(f"{WEB}/logs") as lines:
        texts = [each["text"] for each in await lines.rest()]

    assert texts == ["a", "b", "c", "d", "after d, whatever its clock says", "e"]


async def test_new_attempts_join_a_followed_workload(scene: Scene) -> None:
    await scene.start(ONE)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "first")
    async with scene.replica.stream(f"{WEB}/logs?follow=true&tail=1") as lines:
        assert (await lines.next())["text"] == "first"
        scene.agent.says(LATER, "2030-01-01T00:00:02Z", "second")
        await scene.start(LATER)
        assert (await lines.next())["instance"] == "default.web.0.2"
    assert [asked.get("tail") for asked in scene.agent.asked] == ["1", None]


async def test_following_ends_when_the_workload_is_gone(scene: Scene) -> None:
    async with scene.replica.stream(f"{WEB}/logs?follow=true") as lines:
        await scene.replica.call("DELETE", WEB)
        assert await lines.rest() == []


async def test_a_node_that_cannot_be_reached_is_told_among_the_lines_of_others(
    scene: Scene,
) -> None:
    await scene.start(ONE)
    await scene.start(TWO)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "here")

    async with scene.replica.stream(f"{WEB}/logs") as lines:
        found = {each["instance"]: each for each in await lines.rest()}

    assert found["default.web.0.1"]["text"] == "here"
    assert found["default.web.1.1"]["stream"] == "system"
    assert "node n2 cannot be reached" in found["default.web.1.1"]["text"]


@pytest.mark.parametrize("path", ["/v1/instances/default.web.1.1/logs", f"{WEB}/logs"])
async def test_when_no_agent_can_be_reached_the_answer_names_node_and_address(
    scene: Scene, path: str
) -> None:
    await scene.start(TWO)
    answer = await scene.replica.get(path)
    address = scene.replica.view.state.reports["n2"].record.address
    assert answer.status == 502
    assert answer.body["detail"].startswith(f"node n2 cannot be reached at {address} (")
    assert answer.body["detail"].endswith("): see that its agent runs")


async def test_a_node_without_an_address_is_told(scene: Scene) -> None:
    await scene.start(ONE)
    await scene.replica.view.reached(await scene.there.drop(KEYS.node_report("n1")))
    answer = await scene.replica.get("/v1/instances/default.web.0.1/logs")
    assert (answer.status, answer.body["detail"]) == (
        502,
        "node n1 has not said where its agent is: see that it runs",
    )


async def test_what_the_agent_refuses_is_passed_on(scene: Scene) -> None:
    await scene.start(ONE)
    answer = await scene.replica.get("/v1/instances/default.web.0.1/logs")
    assert (answer.status, answer.body["detail"]) == (
        404,
        "this node has no containers of default.web.0.1",
    )


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (302, "refused with status 302: see the log of its agent"),
        (400, "node n1 refused it: see its agent's log"),
        (404, "node n1 has nothing of it: read again"),
    ],
)
async def test_what_an_agent_does_not_explain_is_a_sentence_all_the_same(
    scene: Scene, status: int, sentence: str
) -> None:
    """And a redirect is not followed: our token would go wherever it leads."""
    scene.agent.refuses = web.Response(
        status=status, headers={"Location": f"{scene.agent.url}/v1/instances/elsewhere/logs"}
    )
    await scene.start(ONE)
    answer = await scene.replica.get("/v1/instances/default.web.0.1/logs")
    assert answer.body["detail"].endswith(sentence)
    assert len(scene.agent.asked) == 1


async def test_what_has_not_started_has_no_log(scene: Scene) -> None:
    await scene.replica.view.reached(await scene.there.assign(ONE))
    one = await scene.replica.get("/v1/instances/default.web.0.1/logs")
    assert (one.status, one.body["detail"]) == (
        409,
        "instance default.web.0.1 has not started yet, so it has no log: try again later; "
        "`orc describe instance default.web.0.1` says what keeps it",
    )
    async with scene.replica.stream(f"{WEB}/logs") as lines:
        assert await lines.rest() == []


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/v1/workloads/default/none/logs", 404, "there is no workload default/none"),
        ("/v1/instances/default.none.0.1/logs", 404, "there is no instance default.none.0.1"),
        (f"{WEB}/logs?tail=-1", 400, "parameter 'tail' cannot be '-1'"),
        (f"{WEB}/logs?folow=true", 400, "did you mean 'follow'?"),
    ],
)
async def test_logs_of_nothing_are_a_problem(
    scene: Scene, path: str, status: int, sentence: str
) -> None:
    answer = await scene.replica.get(path)
    assert answer.status == status
    assert sentence in answer.body["detail"]


async def test_the_logs_of_a_workload_that_is_being_deleted_can_still_be_read(
    scene: Scene,
) -> None:
    await scene.start(ONE)
    scene.agent.says(ONE, "2030-01-01T00:00:01Z", "bye")
    dropped = await scene.there.drop(KEYS.workload(WorkloadKey("default", "web")))
    await scene.replica.view.reached(dropped)
    async with scene.replica.stream(f"{WEB}/logs") as lines:
        assert [each["text"] for each in await lines.rest()] == ["bye"]


class NotingStack(AsyncExitStack):
    """Tells when it has been given something to close."""

    def __init__(self) -> None:
        super().__init__()
        self.has_something = asyncio.Event()

    def callback(self, close: Any, /, *args: Any, **named: Any) -> Any:
        self.has_something.set()
        return super().callback(close, *args, **named)


async def test_what_was_opened_is_closed_when_opening_the_others_is_cancelled(
    scene: Scene,
) -> None:
    """An answer that nobody closes is reported when it is collected, and fails this test."""
    asked = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await _reader.read()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        await scene.there.add_node("n2", f"http://127.0.0.1:{port}")
        await scene.start(ONE)
        await scene.start(TWO)
        scene.agent.says(ONE, "2030-01-01T00:00:01Z", "here")
        query = LogsQuery(follow=True)
        async with AsyncExitStack() as stack:
            opening = asyncio.create_task(open_sources(scene.replica.api, [ONE, TWO], query, stack))
            await asked.wait()
            while not scene.agent.asked:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            opening.cancel()
            await asyncio.wait([opening])
