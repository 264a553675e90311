"""The queue between a stream's reader and its consumer."""

from __future__ import annotations

import asyncio

import pytest

from store.errors import Unavailable
from store.etcd.inbox import LARGE_BYTES, OVERHEAD_BYTES, Inbox

PLENTY = 1_000_000


async def test_messages_come_in_order_and_then_the_end() -> None:
    inbox = Inbox(PLENTY)
    assert inbox.put("a", 1)
    assert inbox.put("b", LARGE_BYTES)
    inbox.end(Unavailable("gone"))
    inbox.end(Unavailable("gone again"))
    assert [await inbox.get(), await inbox.get()] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"^gone$"):
            await inbox.get()


async def test_get_waits_for_a_message() -> None:
    inbox = Inbox(PLENTY)
    getting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not getting.done()
    inbox.put("a", 1)
    assert await getting == "a"


async def test_it_is_bounded_by_bytes_and_by_count() -> None:
    inbox = Inbox(10 * OVERHEAD_BYTES)
    assert inbox.put("large", 9 * OVERHEAD_BYTES)
    assert not inbox.put("one too many", 0)
    await inbox.get()
    assert [inbox.put("tiny", 0) for _ in range(11)] == [True] * 10 + [False]


async def test_one_message_always_fits() -> None:
    inbox = Inbox(1)
    assert inbox.put("a", PLENTY)
    assert await inbox.get() == "a"
    assert inbox.put("b", PLENTY)


async def test_what_nobody_fetched_can_be_dropped() -> None:
    inbox = Inbox(PLENTY)
    inbox.put("a", 1)
    inbox.end(Unavailable("too slow"), discard=True)
    with pytest.raises(Unavailable, match="too slow"):
        await inbox.get()


@pytest.mark.parametrize("size_bytes", [1, 2 * LARGE_BYTES])
async def test_a_cancelled_get_loses_nothing(size_bytes: int) -> None:
    inbox = Inbox(PLENTY)
    getting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put("a", size_bytes)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert await inbox.get() == "a"
