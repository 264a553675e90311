"""Several things at once, never more than so many, and what one of them may raise."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from orchestrator.controller.lanes import in_lanes


async def test_all_is_done_and_never_more_at_once_than_there_are_lanes() -> None:
    done: list[int] = []
    busy = most = 0

    async def work(item: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        done.append(item)

    await in_lanes(3, range(10), work)

    assert (sorted(done), most) == (list(range(10)), 3)


async def test_the_first_error_comes_as_it_is_and_ends_the_rest() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        try:
            await asyncio.sleep(0)
            if item == 1:
                raise LookupError("this one")
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(LookupError, match="this one"):
        await in_lanes(3, range(10), work)

    assert begun == [0, 1, 2]
    assert sorted(ended) == [0, 1, 2]


async def test_nothing_to_do_is_done_at_once() -> None:
    async def work(_item: object) -> None:
        raise AssertionError("there is none")

    await in_lanes(3, (), work)


async def test_a_failure_leaves_nothing_that_would_end_the_task_later() -> None:
    """On Python 3.11.2 a group left its request to cancel standing."""

    async def fail(_item: int) -> None:
        await asyncio.sleep(0)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        await in_lanes(2, range(3), fail)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_who_is_cancelled_while_a_lane_fails_ends() -> None:
    """A group hides that its task is cancelled when it has failed as well."""
    failing = asyncio.Event()

    async def fail_at_the_end(_item: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            failing.set()
            raise KeyError("gone")

    async def go_on_for_ever() -> None:
        with suppress(KeyError):
            await in_lanes(2, range(2), fail_at_the_end)
        await asyncio.Event().wait()

    task = asyncio.create_task(go_on_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({task})
    assert failing.is_set()
    assert task.cancelled()
