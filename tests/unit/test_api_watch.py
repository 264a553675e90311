"""Watching over HTTP: what there is, what changes, and taking up where one left off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orchestrator.api.errors import HistoryGone
from orchestrator.api.journal import Journal
from orchestrator.api.routes import mount_api
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Event
from orchestrator.model.workload import WorkloadKey
from tests.support.api import KEYS, Replica, World, manifest, world
from tests.support.ports import free_port

WEB = "/v1/workloads/default/web"
PLACE = InstancePlace("n1", InstanceName("default", "web", 0, 1))


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def replica(there: World) -> AsyncIterator[Replica]:
    async with there.replica() as made:
        yield made


def told(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["name"]) for line in lines if "object" in line]


async def test_a_watch_lists_then_tells_what_changes(there: World, replica: Replica) -> None:
    created = await replica.call("PUT", WEB, manifest())
    await replica.view.reached(created.revision)
    async with replica.stream("/v1/watch?kind=workloads") as lines:
        first = await lines.until("SYNC")
        assert told(first) == [("ADDED", "web")]
        assert first[-1] == {"type": "SYNC", "revision": created.revision}

        scaled = await replica.call("PUT", f"{WEB}/scale", {"replicas": 7})
        [change, sync] = await lines.until("SYNC")
        assert (change["type"], change["object"]["spec"]["replicas"]) == ("MODIFIED", 7)
        assert (change["revision"], sync["revision"]) == (scaled.revision, scaled.revision)

        await replica.call("PUT", "/v1/workloads/blue/db", manifest())
        assert told(await lines.until("SYNC")) == [("ADDED", "db")]

        await replica.call("DELETE", WEB)
        [gone, _] = await lines.until("SYNC")
        assert gone["type"] == "DELETED"
        assert gone["object"]["spec"]["replicas"] == 7


async def test_a_watch_is_narrowed_by_namespace_and_name(there: World, replica: Replica) -> None:
    for path in (WEB, "/v1/workloads/default/db", "/v1/workloads/blue/web"):
        answer = await replica.call("PUT", path, manifest())
    await replica.view.reached(answer.revision)
    async with replica.stream("/v1/watch?kind=workloads&namespace=default&name=web") as lines:
        assert told(await lines.until("SYNC")) == [("ADDED", "web")]
        await replica.call("PUT", "/v1/workloads/blue/web/scale", {"replicas": 7})
        assert told(await lines.until("SYNC")) == []


async def test_instances_change_with_their_assignment_observation_and_node(
    there: World, replica: Replica
) -> None:
    await replica.view.reached(await there.add_node("n1"))
    async with replica.stream("/v1/watch?kind=instances") as lines:
        await lines.until("SYNC")
        assigned_at = await there.assign(PLACE)
        [added, _] = await lines.until("SYNC")
        assert (added["type"], added["object"]["status"]) == ("ADDED", "Pending")
        await there.report(PLACE, assigned_at)
        [running, _] = await lines.until("SYNC")
        assert (running["type"], running["object"]["status"]) == ("MODIFIED", "Running")
        await there.drop(KEYS.session("n1"))
        [unknown, _] = await lines.until("SYNC")
        assert (unknown["type"], unknown["object"]["status"]) == ("MODIFIED", "Unknown")
        await there.drop(KEYS.assignment(PLACE))
        [gone, _] = await lines.until("SYNC")
        assert told([gone]) == [("DELETED", "default.web.0.1")]


async def test_nodes_change_with_their_session_their_load_and_by_ageing(there: World) -> None:
    async with there.replica(heartbeat_seconds=0.05) as replica:
        await replica.view.reached(await there.add_node("n1"))
        async with replica.stream("/v1/watch?kind=nodes&namespace=default") as lines:
            assert told(await lines.until("SYNC")) == [("ADDED", "n1")]
            await there.assign(PLACE)
            busy = await next_change(lines)
            assert (busy["type"], busy["object"]["instances"]) == ("MODIFIED", 1)
            await there.drop(KEYS.session("n1"))
            lost = await next_change(lines)
            assert lost["object"]["status"] == "Unknown"
            older = await next_change(lines)
            before = lost["object"]["unreachable_seconds"]
            assert older["object"]["unreachable_seconds"] > before


async def next_change(lines: Any) -> dict[str, Any]:
    while (line := await lines.next())["type"] == "SYNC":
        pass
    return dict(line)


async def test_events_are_watched_by_subject(there: World, replica: Replica) -> None:
    async with replica.stream("/v1/watch?kind=events&name=default/web") as lines:
        await lines.until("SYNC")
        await replica.call("PUT", "/v1/workloads/default/db", manifest())
        await replica.call("PUT", WEB, manifest())
        line = await next_change(lines)
        assert (line["type"], line["object"]["kind"]) == ("ADDED", "WorkloadCreated")
        assert line["object"]["subject"] == "default/web"


async def test_a_quiet_watch_says_how_far_it_is(there: World) -> None:
    async with (
        there.replica(heartbeat_seconds=0.02) as replica,
        replica.stream("/v1/watch?kind=nodes") as lines,
    ):
        for _ in range(3):
            assert (await lines.next())["type"] == "SYNC"


async def test_a_watch_resumes_with_only_what_has_changed_since(
    there: World, replica: Replica
) -> None:
    for name in ("kept", "changed", "gone"):
        answer = await replica.call("PUT", f"/v1/workloads/default/{name}", manifest())
    since = answer.revision
    await replica.call("PUT", "/v1/workloads/default/changed/scale", {"replicas": 7})
    await replica.call("DELETE", "/v1/workloads/default/gone")
    last = await replica.call("PUT", "/v1/workloads/default/new", manifest())
    await replica.view.reached(last.revision)

    async with replica.stream(f"/v1/watch?kind=workloads&from_revision={since}") as lines:
        missed = await lines.until("SYNC")
        assert told(missed) == [("MODIFIED", "changed"), ("DELETED", "gone"), ("MODIFIED", "new")]
        assert missed[1]["object"] == {"name": "gone", "namespace": "default"}
        await replica.call("PUT", "/v1/workloads/default/kept/scale", {"replicas": 7})
        assert told(await lines.until("SYNC")) == [("MODIFIED", "kept")]


async def test_a_watch_cannot_resume_from_before_this_replica_began(there: World) -> None:
    async with there.replica("c1") as one:
        old = await one.call("PUT", WEB, manifest())
        await one.call("PUT", f"{WEB}/scale", {"replicas": 7})
        async with there.replica("c2") as two:
            await two.view.synced()
            began = two.view.revision
            answer = await two.get(f"/v1/watch?kind=workloads&from_revision={old.revision}")
    assert answer.status == 410
    assert answer.body["detail"] == (
        f"this replica knows what has changed since revision {began}, but not since "
        f"{old.revision}: list again, then watch on"
    )


async def test_a_watch_of_the_future_is_waited_for_and_refused(there: World) -> None:
    async with there.replica(read_patience_seconds=0.05) as replica:
        await replica.view.synced()
        answer = await replica.get("/v1/watch?kind=workloads&from_revision=999")
    assert answer.status == 504


async def test_a_journal_forgets_what_is_too_old(there: World) -> None:
    async with there.replica() as replica:
        await replica.view.synced()
        journal = Journal(replica.view, kept_changes=3)
        revisions = [await touch(there, name) for name in "abcde"]
        await replica.view.reached(revisions[-1])

        kept = [KEYS.workload(WorkloadKey("default", name)) for name in "cde"]
        assert journal.keys_after(2) == tuple(kept)
        assert journal.keys_after_revision(revisions[1]) == kept
        with pytest.raises(HistoryGone, match="fallen too far behind"):
            journal.keys_after(1)
        with pytest.raises(HistoryGone, match="list again"):
            journal.keys_after_revision(revisions[0])


async def touch(there: World, name: str) -> int:
    return await there.put(KEYS.workload(WorkloadKey("default", name)), b"{}")


async def test_a_client_that_reads_too_slowly_is_told_to_list_again(there: World) -> None:
    async with there.replica() as replica:
        await replica.view.synced()
        small = Journal(replica.view, kept_changes=1)
        replica.api.journal = small
        async with replica.stream("/v1/watch?kind=events") as lines:
            await lines.until("SYNC")
            event = Event(1.0, "Tested", "x", "", "c1")
            await there.put_all({KEYS.event(7, f"{index}"): event for index in range(5)})
            [error] = await lines.rest()
    assert error["type"] == "ERROR"
    assert error["problem"]["status"] == 410
    assert "list again" in error["problem"]["detail"]


async def test_watches_break_off_when_the_server_stops(replica: Replica) -> None:
    """Rather than end as if there were nothing more to come, or hold the server up."""
    app = web.Application()
    mount_api(app, replica.api)
    runner = web.AppRunner(app, shutdown_timeout=60)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{port}/v1/watch?kind=nodes"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        await response.content.readline()
        async with asyncio.timeout(10):
            await runner.cleanup()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


@pytest.mark.slow
async def test_a_client_that_leaves_takes_its_watch_with_it(there: World) -> None:
    async with there.replica() as replica:
        async with aiohttp.ClientSession() as leaving:
            response = await leaving.get(f"{replica.api.address}/v1/watch?kind=nodes")
            await response.content.readline()
            assert replica.api.streams.count == 1
            response.close()
        async with asyncio.timeout(5):
            while replica.api.streams.count:
                await asyncio.sleep(0.01)
