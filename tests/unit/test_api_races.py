"""Writes that race, replicas that lag, and a store that does not answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.model.keys import Kind
from orchestrator.model.workload import WorkloadKey
from store.memory.meanness import CALM, LOST_REPLY, Meanness
from store.values import Event, RangeOp
from tests.support.api import KEYS, World, manifest, world

WEB = "/v1/workloads/default/web"
KEY = WorkloadKey("default", "web")
LAGGING = Meanness(watch_seconds=(0.2, 0.2))


@pytest.fixture
async def there() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def writes_of(there: World, key: str) -> list[int]:
    """The revisions at which a key is written from now on."""
    found: list[int] = []

    def observe(revision: int, events: tuple[Event, ...]) -> None:
        found.extend(revision for event in events if event.kv.key == key)

    there.cluster.observe(observe)
    return found


async def test_two_applies_at_once_are_both_done_one_after_the_other(there: World) -> None:
    written = writes_of(there, KEYS.workload(KEY))
    async with there.replica("c1") as one, there.replica("c2") as two:
        first, second = await asyncio.gather(
            one.call("PUT", WEB, manifest(replicas=1)), two.call("PUT", WEB, manifest(replicas=2))
        )
    assert {first.body["outcome"], second.body["outcome"]} == {"created", "configured"}
    assert sorted([first.revision, second.revision]) == written
    row = await there.value(KEYS.workload(KEY))
    last = max(first, second, key=lambda answer: answer.revision)
    assert row is not None
    assert [f"replicas: {3 - row['spec']['replicas']} -> {row['spec']['replicas']}"] == (
        last.body["changes"]
    )


async def test_many_racing_scales_are_each_done_once(there: World) -> None:
    written = writes_of(there, KEYS.workload(KEY))
    async with there.replica("c1") as one, there.replica("c2") as two:
        await one.call("PUT", WEB, manifest(replicas=99))
        answers = await asyncio.gather(
            *(
                replica.call("PUT", f"{WEB}/scale", {"replicas": count})
                for count, replica in enumerate([one, two] * 3)
            )
        )
    assert [answer.status for answer in answers] == [200] * 6
    assert sorted(answer.revision for answer in answers) == written[1:]


async def test_a_replica_that_lags_does_not_call_a_change_unneeded(there: World) -> None:
    async with there.replica("c1") as one, there.replica("c2") as two:
        first = await one.call("PUT", WEB, manifest(replicas=3))
        await two.view.reached(first.revision)
        there.cluster.treat(LAGGING, "c2")
        await one.call("PUT", WEB, manifest(replicas=5))
        answer = await two.call("PUT", WEB, manifest(replicas=3))
    assert answer.body["changes"] == ["replicas: 5 -> 3"]


async def test_a_replica_that_lags_does_not_deny_what_was_just_made(there: World) -> None:
    async with there.replica("c1") as one, there.replica("c2") as two:
        await two.view.synced()
        there.cluster.treat(LAGGING, "c2")
        created = await one.call("PUT", WEB, manifest(replicas=3))
        scaled = await two.call("PUT", f"{WEB}/scale", {"replicas": 4})
        matched = await two.call("DELETE", WEB, If_Match=scaled.headers["ETag"])
    assert (created.status, scaled.status, matched.status) == (201, 200, 200)


async def test_a_replica_that_does_not_catch_up_says_so_and_changes_nothing(there: World) -> None:
    async with (
        there.replica("c1") as one,
        there.replica("c2", write_patience_seconds=0.2) as two,
    ):
        await two.view.synced()
        there.cluster.treat(Meanness(watch_seconds=(60.0, 60.0)), "c2")
        created = await one.call("PUT", WEB, manifest(replicas=3))
        answer = await two.call("PUT", WEB, manifest(replicas=4))
    assert answer.status == 504
    assert answer.body["detail"].startswith("nothing was changed: this replica has read")
    assert there.revision == created.revision


@pytest.mark.slow
async def test_whoever_always_comes_second_is_told_so(there: World) -> None:
    """Requests of c1 take their time, and somebody else keeps touching the row meanwhile."""
    async with there.replica() as replica:
        await replica.call("PUT", WEB, manifest())
        row = await there.value(KEYS.workload(KEY))
        there.cluster.treat(Meanness(request_seconds=(0.05, 0.05)), "c1")

        async def touch() -> None:
            while True:
                await there.put(KEYS.workload(KEY), json.dumps(row).encode())
                await asyncio.sleep(0.005)

        touching = asyncio.create_task(touch())
        answer = await replica.call("PUT", f"{WEB}/scale", {"replicas": 9})
        touching.cancel()
    assert answer.status == 409
    assert answer.body["detail"] == (
        "workload default/web is being changed by others all the time: try again later"
    )


async def test_a_lost_reply_is_found_out_and_answered(there: World) -> None:
    async with there.replica() as replica:
        await replica.call("PUT", WEB, manifest())
        there.cluster.link("c1").luck.arrange(LOST_REPLY)
        answer = await replica.call("PUT", WEB, manifest(replicas=5))
    assert answer.body["outcome"] == "configured"
    assert answer.revision == there.revision


async def test_an_outcome_that_stays_unknown_is_told_and_may_be_repeated(there: World) -> None:
    async with there.replica(write_patience_seconds=0.1) as replica:
        await replica.call("PUT", WEB, manifest())
        there.cluster.treat(Meanness(lost_reply=1.0), "c1")
        unknown = await replica.call("PUT", WEB, manifest(replicas=5))
        there.cluster.treat(CALM, "c1")
        repeated = await replica.call("PUT", WEB, manifest(replicas=5))
    assert unknown.status == 504
    assert unknown.body["detail"] == (
        "the store did not answer; the change may or may not have been made: read again, "
        "or repeat the same request (it is safe to repeat)"
    )
    assert repeated.body["outcome"] == "unchanged"


async def test_a_store_that_takes_no_requests_has_surely_done_nothing(there: World) -> None:
    async with there.replica(write_patience_seconds=0.1) as replica:
        await replica.view.synced()
        there.cluster.treat(Meanness(refused=1.0), "c1")
        answer = await replica.call("PUT", WEB, manifest())
    assert answer.status == 503
    assert (
        "the store cannot be reached, so nothing was changed: try again later"
        in (answer.body["detail"])
    )


async def test_a_lease_for_events_that_cannot_be_had_is_no_unknown_outcome(there: World) -> None:
    """Nothing of the change was sent, whatever has become of the lease."""
    async with there.replica(write_patience_seconds=0.1) as replica:
        await replica.view.synced()
        there.cluster.treat(Meanness(lost_reply=1.0), "c1")
        answer = await replica.call("PUT", WEB, manifest())
    assert answer.status == 503
    assert await there.value(KEYS.workload(KEY)) is None


async def test_a_lost_lease_of_events_is_granted_anew(there: World) -> None:
    async with there.replica() as replica:
        await replica.call("PUT", WEB, manifest())
        [event] = (await there.store.range(RangeOp(KEYS.folder(Kind.EVENT), "0"))).kvs
        await there.store.revoke_lease(event.lease)
        answer = await replica.call("PUT", WEB, manifest(replicas=5))
        events = await replica.get(f"/v1/events?min_revision={answer.revision}")
    assert answer.status == 200
    assert [each["kind"] for each in events.body["items"]] == ["WorkloadConfigured"]


async def test_a_full_store_is_told_of_with_what_to_do() -> None:
    async with world(quota_bytes=10_000) as there, there.replica() as replica:
        big = manifest(labels={f"l{index}": "x" * 60 for index in range(200)})
        await replica.call("PUT", WEB, big)
        answer = await replica.call("PUT", WEB, manifest())
    assert answer.status == 507
    assert "the store is full and takes no writes" in answer.body["detail"]
