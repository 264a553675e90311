"""Doing several things at once that do not depend on each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


async def in_lanes(lanes: int, items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """`work` on each of `items`, so many at a time. An item is drawn when a lane is free for it.

    The first error is raised as it is, when what was under way beside it has been cancelled.
    """
    waiting = iter(items)

    async def run_lane() -> None:
        for item in waiting:
            await work(item)

    try:
        with staying_alive():
            async with asyncio.TaskGroup() as tasks:
                for _ in range(lanes):
                    tasks.create_task(run_lane())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


@contextmanager
def staying_alive() -> Iterator[None]:
    """Around a group whose failure this task outlives. Before Python 3.11.4 (Debian 12 has 3.11.2)
    a group that fails leaves its own request to cancel its task standing, and the next timeout
    that the task runs into would be taken for it."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        yield
    except Exception:
        while task.cancelling() > before:
            task.uncancel()
        raise
