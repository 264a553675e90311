"""Work that several want at once is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

Tell = Callable[[str], None]


class _Shared(Generic[R]):
    """Work under way, and those who wait for it."""

    def __init__(self, work: Callable[[Tell], Awaitable[R]]) -> None:
        self.listeners: list[Tell] = []
        self.told = ""
        self.task = asyncio.create_task(self._run(work))

    async def _run(self, work: Callable[[Tell], Awaitable[R]]) -> R:
        return await work(self._tell)

    def join(self, listener: Tell) -> None:
        self.listeners.append(listener)
        if self.told:
            listener(self.told)

    def _tell(self, sentence: str) -> None:
        if sentence != self.told:
            self.told = sentence
            for listener in list(self.listeners):
                listener(sentence)


class Joining(Generic[K, R]):
    """Whoever comes while work for the same key is under way joins it, and hears how far it is.

    It goes on for as long as anybody waits, whoever has begun it; when the last one has given up
    it is cancelled.
    """

    def __init__(self) -> None:
        self._shared: dict[K, _Shared[R]] = {}

    @property
    def keys(self) -> frozenset[K]:
        return frozenset(self._shared)

    async def do(self, key: K, work: Callable[[Tell], Awaitable[R]], tell: Tell) -> R:
        """What `work` returns or raises."""
        while (shared := self._shared.get(key)) and not shared.listeners:
            await asyncio.wait({shared.task})  # given up, and not yet gone
        if shared is None:
            shared = self._shared[key] = _Shared(work)
        shared.join(tell)
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.listeners.remove(tell)
            if not shared.listeners:
                await self._end(key, shared)

    async def _end(self, key: K, shared: _Shared[R]) -> None:
        try:
            shared.task.cancel()
            await asyncio.wait({shared.task})
        finally:
            del self._shared[key]
