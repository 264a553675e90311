"""Each fault between a client and the store does what it says, and none happens unasked."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import OutcomeUnknown, Unavailable
from store.memory.cluster import MemoryCluster
from store.memory.meanness import LOST_REPLY, LOST_REQUEST, REFUSED, Meanness, Trip, late
from store.values import PutOp, RangeOp, prefix_end
from tests.support.memory import listen, memory_cluster
from tests.support.stores import get, put, revision_of, send


async def test_by_default_nothing_goes_wrong_and_no_luck_is_drawn() -> None:
    rng = random.Random(1)
    before = rng.getstate()
    memory = MemoryCluster(asyncio.get_running_loop().time, rng)
    store = memory.connect("client")
    listener = listen(memory, "client")
    await listener.created()

    for index in range(100):
        await put(store, f"/{index}")

    assert len(await listener.events(100)) == 100
    assert rng.getstate() == before


@in_virtual_time
async def test_a_lost_reply_hides_a_write_that_was_done() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(LOST_REPLY)

    with pytest.raises(OutcomeUnknown):
        await put(store, "/a")

    assert await get(store, "/a")


@in_virtual_time
async def test_a_lost_request_is_never_done() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(LOST_REQUEST)

    with pytest.raises(OutcomeUnknown):
        await put(store, "/a")
    await asyncio.sleep(1000.0)

    assert await get(store, "/a") is None


@in_virtual_time
async def test_a_refused_write_is_surely_not_done() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(REFUSED)

    with pytest.raises(Unavailable):
        await put(store, "/a")

    assert await get(store, "/a") is None


@in_virtual_time
async def test_a_write_that_was_given_up_on_commits_after_a_newer_one() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(late(3.0))

    with pytest.raises(OutcomeUnknown):
        await put(store, "/a", b"abandoned")
    await put(store, "/a", b"newer")
    await asyncio.sleep(3.0)

    kv = await get(store, "/a")
    assert kv
    assert (kv.value, kv.version) == (b"abandoned", 2)


@in_virtual_time
async def test_a_request_that_is_slower_than_its_timeout_still_arrives() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(Trip(request_seconds=7.0))

    with pytest.raises(OutcomeUnknown):
        await put(store, "/a")

    assert virtual_now() == pytest.approx(5.0)
    assert await get(store, "/a") is None
    await asyncio.sleep(2.0)
    assert await get(store, "/a")


@in_virtual_time
async def test_a_write_whose_sender_is_cancelled_is_done_all_the_same() -> None:
    memory = memory_cluster(Meanness(request_seconds=(1.0, 1.0)))
    store = memory.connect("client")
    sending = asyncio.create_task(put(store, "/a"))
    await asyncio.sleep(0.5)

    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    assert await get(store, "/a")


@in_virtual_time
async def test_a_refusal_can_be_lost_too() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(LOST_REPLY)

    with pytest.raises(OutcomeUnknown):
        await put(store, "/a", lease=4711)


@in_virtual_time
async def test_a_read_without_an_answer_is_unavailable() -> None:
    memory = memory_cluster(Meanness(lost_reply=1.0))
    store = memory.connect("client")

    with pytest.raises(Unavailable):
        await get(store, "/a")


@in_virtual_time
async def test_latency_takes_its_time_both_ways() -> None:
    memory = memory_cluster(Meanness(request_seconds=(0.2, 0.2), reply_seconds=(0.3, 0.3)))

    await put(memory.connect("client"), "/a")

    assert virtual_now() == pytest.approx(0.5)


@in_virtual_time
async def test_a_paused_clients_answers_and_watches_are_held_until_it_resumes() -> None:
    memory = memory_cluster()
    frozen, other = memory.connect("frozen"), memory.connect("other")
    listener = listen(memory, "frozen")
    await listener.created()
    memory.pause("frozen")

    writing = asyncio.create_task(put(frozen, "/a", b"1"))
    reading = asyncio.create_task(listener.events(1))
    await asyncio.sleep(2.0)
    assert await get(other, "/a"), "its request went through"
    assert not writing.done()
    assert not reading.done()
    memory.resume("frozen")

    assert await writing == await revision_of(other)
    assert [event.kv.value for event in await reading] == [b"1"]


@in_virtual_time
async def test_a_pause_longer_than_the_timeout_leaves_the_outcome_unknown() -> None:
    memory = memory_cluster()
    memory.connect("frozen")
    memory.pause("frozen")

    with pytest.raises(OutcomeUnknown):
        await put(memory.connect("frozen"), "/a")

    assert virtual_now() == pytest.approx(5.0)
    assert await get(memory.connect("other"), "/a")


@in_virtual_time
async def test_a_client_that_is_cut_off_reaches_nobody() -> None:
    memory = memory_cluster()
    apart, other = memory.connect("apart"), memory.connect("other")
    memory.cut("apart")

    with pytest.raises(OutcomeUnknown):
        await put(apart, "/a")
    assert await apart.members() == ()
    memory.resume("apart")

    assert await get(other, "/a") is None
    assert await put(apart, "/b")


@in_virtual_time
async def test_stale_reads_are_of_one_past_moment() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    for index in range(10):
        await send(store, PutOp("/a", str(index).encode()), PutOp("/b", str(index).encode()))
    now = await revision_of(store)
    memory.treat(Meanness(stale_read=1.0, stale_revisions=5))

    for _ in range(20):
        result = await store.range(RangeOp("/", prefix_end("/")))
        assert now - 5 <= result.header.revision < now
        assert len({kv.value for kv in result.kvs}) == 1
        assert {kv.mod_revision for kv in result.kvs} == {result.header.revision}


@in_virtual_time
async def test_a_lease_can_be_lost_though_it_is_renewed_in_time() -> None:
    memory = memory_cluster(Meanness(lease_lost=1.0))
    store = memory.connect("client")
    await store.grant_lease(7, 60)
    await put(store, "/a", lease=7)

    answer = await store.keep_alive_stream().renew(7)

    assert answer.ttl_seconds == 0
    assert await get(store, "/a") is None


def test_equal_seeds_give_equal_histories() -> None:
    histories = [history(seed) for seed in (1, 1, 2)]

    assert histories[0] == histories[1] != histories[2]


def history(seed: int) -> list[tuple[float, int, str]]:
    """When what was committed under all kinds of bad luck."""
    mean = Meanness(
        request_seconds=(0.0, 0.5),
        reply_seconds=(0.0, 0.5),
        refused=0.1,
        lost_request=0.1,
        lost_reply=0.1,
        late_commit=0.2,
        cut_seconds=(0.0, 1.0),
        watch_seconds=(0.0, 1.0),
        watch_broken=0.05,
        lease_lost=0.1,
    )
    committed: list[tuple[float, int, str]] = []

    @in_virtual_time
    async def run() -> None:
        memory = memory_cluster(mean, seed=seed)
        memory.observe(
            lambda revision, events: committed.append(
                (virtual_now(), revision, ",".join(event.kv.key for event in events))
            )
        )
        await asyncio.gather(*(scribble(memory, f"client-{index}") for index in range(5)))

    run()
    return committed


async def scribble(memory: MemoryCluster, name: str) -> None:
    store = memory.connect(name)
    for index in range(30):
        try:
            await put(store, f"/{name}/{index % 3}")
        except (OutcomeUnknown, Unavailable):
            continue
