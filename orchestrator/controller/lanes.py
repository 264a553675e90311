"""Doing several things at once that do not depend on each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_lanes(lanes: int, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """`work` on each of `items`, so many at a time. An item is drawn when a lane is free for it.

    The first error is raised as it is, when what was under way beside it has been cancelled.
    """
    waiting = iter(items)

    async def run_lane() -> None:
        for item in waiting:
            await work(item)

    async def run_all() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(lanes):
                tasks.create_task(run_lane())

    try:
        await in_own_task(run_all())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """What `work`, with a group in it whose failure this task outlives, returns or raises.

    A group that fails while its task is cancelled hides that from it; and before Python 3.11.4
    (Debian 12 has 3.11.2) it leaves its own request to cancel its task standing. In a task of its
    own it does either to that task only.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
