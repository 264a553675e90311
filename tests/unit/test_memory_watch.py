"""Watches in memory: what delays, splits, repeats, breaks and cancels them."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import Compacted, Unavailable
from store.memory.meanness import CALM, Meanness
from store.values import Event, PutOp, WatchResponse
from tests.support.memory import listen, memory_cluster
from tests.support.stores import Listener, get, put, send


async def values_of(listener: Listener, count: int) -> list[bytes]:
    return [event.kv.value for event in await listener.events(count)]


def events_of(*responses: WatchResponse) -> list[Event]:
    return [event for response in responses for event in response.events]


@in_virtual_time
async def test_who_is_paused_for_long_falls_behind_and_catches_up_in_one_response() -> None:
    memory = memory_cluster(Meanness(watch_buffer=2))
    writer = memory.connect("writer")
    listener = listen(memory, "frozen")
    await listener.created()
    memory.pause("frozen")
    for index in range(5):
        await put(writer, "/a", str(index).encode())

    memory.resume("frozen")

    sizes = [len((await listener.response()).events) for _ in range(3)]
    assert sizes == [1, 1, 3]


@in_virtual_time
async def test_a_compaction_meanwhile_cancels_the_watch_of_who_fell_behind() -> None:
    memory = memory_cluster(Meanness(watch_buffer=0))
    writer = memory.connect("writer")
    listener = listen(memory, "frozen")
    await listener.created()
    memory.pause("frozen")
    await put(writer, "/a")
    now = await put(writer, "/a")
    await writer.compact(now)

    memory.resume("frozen")

    response = await listener.response()
    assert (response.canceled, response.compact_revision) == (True, now)
    with pytest.raises(Compacted):
        await listener.response()


@in_virtual_time
async def test_a_watch_is_delayed_for_one_client_and_stays_in_order() -> None:
    memory = memory_cluster()
    writer = memory.connect("writer")
    slow, quick = listen(memory, "slow"), listen(memory, "quick")
    memory.treat(Meanness(watch_seconds=(1.0, 3.0)), "slow")
    await slow.created()
    await quick.created()
    began = virtual_now()

    for index in range(5):
        await put(writer, "/a", str(index).encode())

    wanted = [b"0", b"1", b"2", b"3", b"4"]
    assert await values_of(quick, 5) == wanted
    assert virtual_now() == began
    assert await values_of(slow, 5) == wanted
    assert 1.0 <= virtual_now() - began <= 3.0


@in_virtual_time
async def test_responses_are_repeated_and_old_ones_come_back() -> None:
    memory = memory_cluster(Meanness(watch_repeated=1.0))
    writer = memory.connect("writer")
    listener = listen(memory, "client")
    await listener.created()

    for index in range(5):
        await put(writer, "/a", str(index).encode())

    revisions = [event.kv.mod_revision for event in await listener.events(10)]
    assert sorted(set(revisions[::2])) == revisions[::2], "each comes in its turn"
    assert all(again <= new for new, again in zip(revisions[::2], revisions[1::2], strict=True))
    assert revisions[::2] != revisions[1::2]


@in_virtual_time
async def test_a_broken_watch_says_so_and_the_next_resumes() -> None:
    memory = memory_cluster(Meanness(watch_broken=1.0))
    writer = memory.connect("writer")
    listener = listen(memory, "client")
    await listener.created()
    first = await put(writer, "/a", b"1")

    assert await listener.events(1)
    with pytest.raises(Unavailable):
        await listener.response()
    memory.treat(CALM)
    second = await put(writer, "/a", b"2")

    resumed = await listen(memory, "client", first).changes(2)
    assert [change.revision for change in resumed] == [first, second]


@in_virtual_time
async def test_all_watches_break_at_once() -> None:
    memory = memory_cluster()
    listeners = [listen(memory, name) for name in ("one", "other")]
    for listener in listeners:
        await listener.created()

    memory.break_watches()

    for listener in listeners:
        with pytest.raises(Unavailable):
            await listener.response()


@in_virtual_time
async def test_a_watch_can_be_compacted_away_by_chance() -> None:
    memory = memory_cluster(Meanness(watch_compacted=1.0))
    listener = listen(memory, "client")
    await listener.created()

    now = await put(memory.connect("writer"), "/a")

    response = await listener.response()
    assert (response.canceled, response.compact_revision) == (True, now)
    with pytest.raises(Compacted):
        await get(memory.connect("writer"), "/a", now - 1)


@in_virtual_time
async def test_what_ends_a_watch_during_a_pause_is_told_afterwards() -> None:
    memory = memory_cluster()
    broken, canceled = listen(memory, "broken"), listen(memory, "canceled")
    for client, listener in (("broken", broken), ("canceled", canceled)):
        await listener.created()
        memory.pause(client)
    memory.break_watches("broken")
    memory.treat(Meanness(watch_compacted=1.0), "canceled")
    await put(memory.connect("writer"), "/a")

    memory.resume("broken")
    memory.resume("canceled")

    with pytest.raises(Unavailable):
        await broken.response()
    assert (await canceled.response()).canceled


@in_virtual_time
async def test_fragments_split_revisions_and_only_the_last_is_whole() -> None:
    memory = memory_cluster(Meanness(fragment_events=2))
    writer = memory.connect("writer")
    listener = listen(memory, "client")
    await listener.created()

    await send(writer, *(PutOp(f"/{index}", b"") for index in range(5)))

    responses = [await listener.response() for _ in range(3)]
    assert [len(response.events) for response in responses] == [2, 2, 1]
    assert [response.is_fragment for response in responses] == [True, True, False]
    assert len({event.kv.mod_revision for event in events_of(*responses)}) == 1


@in_virtual_time
async def test_catching_up_comes_in_batches_of_a_thousand_revisions() -> None:
    memory = memory_cluster()
    writer = memory.connect("writer")
    for index in range(1500):
        await put(writer, f"/{index % 7}")

    listener = listen(memory, "client", 2)
    await listener.created()

    assert [len((await listener.response()).events) for _ in range(2)] == [1000, 500]


@in_virtual_time
async def test_progress_is_told_to_who_heard_nothing() -> None:
    memory = memory_cluster()
    writer = memory.connect("writer")
    listener = listen(memory, "client")
    await listener.created()
    memory.notify_progress_every(4.0)

    revision = await put(writer, "elsewhere")
    response = await listener.response()

    assert virtual_now() == pytest.approx(4.0)
    assert response == WatchResponse(memory.engine.header())
    assert response.header.revision == revision
    await asyncio.sleep(2.0)
    await put(writer, "/a")
    assert (await listener.response()).events
    assert (await listener.response()).events == ()
    assert virtual_now() == pytest.approx(12.0), "an event within an interval is progress enough"
    memory.notify_progress_every(0.0)
