"""Calls that block for a while, and errors of the system as sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from weakref import WeakValueDictionary

from orchestrator.model import errors

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """What was begun is ended before a cancelled caller goes on: nobody works behind its back."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


@contextmanager
def failing_as(what: str) -> Iterator[None]:
    """An OSError of the block becomes `RuntimeError`: "<what> failed: ..."."""
    try:
        yield
    except OSError as failure:
        raise errors.RuntimeError(f"{what} failed: {failure}") from failure


class Queues:
    """A lock for each name, kept for as long as somebody has it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
