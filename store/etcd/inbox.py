"""A bounded queue between a stream's reader and whoever consumes it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from store.errors import StoreError

OVERHEAD_BYTES = 1_024
"""What a small decoded message costs beyond its bytes, roughly; so that many tiny ones count."""

LARGE_BYTES = 64 * 1_024


class Inbox:
    """Messages in order, then the error that ended the stream. One consumer."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._messages: deque[tuple[Any, int]] = deque()
        self._end: StoreError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Any, size_bytes: int) -> bool:
        """Take a message; False when it does not fit any more, and then it is not kept.

        One message always fits, however large.
        """
        cost = size_bytes + OVERHEAD_BYTES
        if self._messages and self._held_bytes + cost > self._limit_bytes:
            return False
        self._held_bytes += cost
        self._messages.append((message, cost))
        self._wake()
        return True

    def end(self, error: StoreError, *, discard: bool = False) -> None:
        """No more will come; `discard` drops what nobody has fetched. The first end counts."""
        if self._end is None:
            self._end = error
            if discard:
                self._messages.clear()
            self._wake()

    async def get(self) -> Any:
        """The next message. Raises the end's error once all are fetched. Safe to cancel."""
        await self._filled()
        if self._messages[0][1] > LARGE_BYTES:
            # A catch-up is many large messages in a row: keepalives must get their turn between.
            await asyncio.sleep(0)
            await self._filled()
        message, cost = self._messages.popleft()
        self._held_bytes -= cost
        return message

    async def _filled(self) -> None:
        while not self._messages:
            if self._end:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
