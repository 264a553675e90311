"""What every `Store` promises about watches."""

from __future__ import annotations

import asyncio

import pytest

from store.errors import Compacted
from store.protocol import Store
from store.values import DeleteOp, KeyValue, PutOp, prefix_end
from tests.contracts.conftest import StoreFactory
from tests.support.stores import (
    LIMIT_SECONDS,
    Change,
    Listener,
    changes_of,
    delete,
    put,
    revision_of,
    send,
)


def listen(store: Store, prefix: str, start_revision: int = 0) -> Listener:
    return Listener(
        store.watch(prefix, range_end=prefix_end(prefix), start_revision=start_revision)
    )


async def test_the_first_response_says_created_and_where_the_store_is(
    store: Store, prefix: str
) -> None:
    revision = await put(store, prefix + "before")

    response = await listen(store, prefix).created()

    assert response.header.revision == revision
    assert (response.events, response.canceled) == ((), False)


async def test_a_watch_without_a_start_tells_of_what_comes(store: Store, prefix: str) -> None:
    await put(store, prefix + "before")
    listener = listen(store, prefix)
    await listener.created()

    revision = await put(store, prefix + "a", b"1")

    assert await listener.changes(1) == [Change(prefix + "a", b"1", revision)]


async def test_a_watch_starts_in_the_past_and_goes_on(store: Store, prefix: str) -> None:
    await put(store, prefix + "a", b"0")
    first = await put(store, prefix + "a", b"1")
    second = await put(store, prefix + "b", b"2")
    third = await delete(store, prefix + "a")
    listener = listen(store, prefix, first)
    await listener.created()
    fourth = await put(store, prefix + "c", b"4")

    assert await listener.changes(4) == [
        Change(prefix + "a", b"1", first),
        Change(prefix + "b", b"2", second),
        Change(prefix + "a", None, third),
        Change(prefix + "c", b"4", fourth),
    ]


async def test_an_event_carries_the_whole_key(store: Store, prefix: str) -> None:
    lease = (await store.grant_lease(0, 60)).lease_id
    created = await put(store, prefix + "a", b"1")
    listener = listen(store, prefix, created + 1)

    modified = await put(store, prefix + "a", b"2", lease)
    deleted = await delete(store, prefix + "a")
    put_event, delete_event = await listener.events(2)

    assert put_event.kv == KeyValue(prefix + "a", b"2", created, modified, 2, lease)
    assert not put_event.is_delete
    assert delete_event.kv == KeyValue(prefix + "a", b"", 0, deleted, 0)
    assert delete_event.is_delete
    await store.revoke_lease(lease)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_transaction_comes_whole_and_in_the_order_of_its_operations(
    store: Store, prefix: str, is_late: bool
) -> None:
    await put(store, prefix + "x")
    start = await put(store, prefix + "y") + 1
    listener = listen(store, prefix, start)
    if not is_late:
        await listener.created()

    await send(
        store,
        PutOp(prefix + "c", b""),
        DeleteOp(prefix + "x", prefix + "z"),
        PutOp(prefix + "a", b""),
    )
    if is_late:
        await listener.created()
    response = await listener.response()

    assert [change.key.removeprefix(prefix) for change in changes_of(response.events)] == [
        *("c", "x", "y", "a")
    ]
    assert {event.kv.mod_revision for event in response.events} == {start}
    assert response.header.revision == start


async def test_a_watch_keeps_to_its_range(store: Store, prefix: str) -> None:
    start = await revision_of(store) + 1
    one = Listener(store.watch(prefix + "b", start_revision=start))
    some = Listener(store.watch(prefix + "b", range_end=prefix + "d", start_revision=start))
    rest = Listener(store.watch(prefix + "c", range_end="\0", start_revision=start))

    await send(store, *(PutOp(prefix + name, b"") for name in ("a", "b", "b/", "c", "d")))

    async def names(listener: Listener, count: int) -> list[str]:
        return [change.key.removeprefix(prefix) for change in await listener.changes(count)]

    assert await names(one, 1) == ["b"]
    assert await names(some, 3) == ["b", "b/", "c"]
    assert await names(rest, 2) == ["c", "d"]


async def test_a_watch_of_the_future_waits_for_it(store: Store, prefix: str) -> None:
    now = await revision_of(store)
    listener = listen(store, prefix, now + 3)
    await listener.created()

    for index in range(4):
        await put(store, f"{prefix}{index}")

    assert [change.revision for change in await listener.changes(2)] == [now + 3, now + 4]


async def test_a_watch_that_starts_in_compacted_history_is_canceled(
    store: Store, prefix: str
) -> None:
    old = await put(store, prefix + "a")
    await put(store, prefix + "b")
    now = await put(store, prefix + "c")
    await store.compact(now)
    listener = listen(store, prefix, old)

    await listener.created()
    response = await listener.response()

    assert (response.canceled, response.compact_revision, response.events) == (True, now, ())
    for _ in range(2):
        with pytest.raises(Compacted) as refusal:
            await listener.response()
        assert refusal.value.compact_revision == now


async def test_history_begins_with_the_compacted_revision(store: Store, prefix: str) -> None:
    await put(store, prefix + "a")
    at = await put(store, prefix + "b", b"kept")
    await store.compact(at)
    await put(store, prefix + "c", b"new")

    listener = listen(store, prefix, at)

    assert [change.value for change in await listener.changes(2)] == [b"kept", b"new"]


async def test_compaction_does_not_disturb_a_watch_that_is_current(
    store: Store, prefix: str
) -> None:
    listener = listen(store, prefix)
    await listener.created()
    await store.compact(await put(store, prefix + "a"))
    await listener.changes(1)

    await put(store, prefix + "b")

    assert [change.key for change in await listener.changes(1)] == [prefix + "b"]


async def test_catching_up_merges_revisions_and_loses_none(store: Store, prefix: str) -> None:
    start = await revision_of(store) + 1
    for index in range(30):
        await send(store, *(PutOp(f"{prefix}{index}/{n}", b"x" * 300) for n in range(3)))

    listener = listen(store, prefix, start)
    await listener.created()
    response = await listener.response()
    events = list(response.events)
    if len(events) < 90:
        events += await listener.events(90 - len(events))

    assert response.header.revision == start + 29, "one response for many revisions tells of now"
    assert [event.kv.key.removeprefix(prefix) for event in events] == [
        f"{index}/{n}" for index in range(30) for n in range(3)
    ]


async def test_every_client_is_told_the_same(store_factory: StoreFactory, prefix: str) -> None:
    writer, *readers = [await store_factory() for _ in range(3)]
    listeners = [listen(reader, prefix) for reader in readers]
    for listener in listeners:
        await listener.created()

    for index in range(10):
        await put(writer, f"{prefix}{index % 3}", str(index).encode())

    one, other = [await listener.changes(10) for listener in listeners]
    assert one == other


async def test_closing_ends_a_watch_that_is_waited_for(store: Store, prefix: str) -> None:
    watch = store.watch(prefix, range_end=prefix_end(prefix))
    responses = aiter(watch)
    await anext(responses)

    async def rest() -> list[object]:
        return [response async for response in watch]

    waiting = asyncio.create_task(rest())
    await asyncio.sleep(0)
    await watch.close()

    async with asyncio.timeout(LIMIT_SECONDS):
        assert await waiting == []
