"""One watch on one stream of its own: created, followed, and ended by an error.

A watch never resumes by itself: whoever keeps the position opens the next one, which then goes
to whichever member is current. Fragments are passed on as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from store.errors import Compacted, PermissionDenied, StoreError, Unavailable
from store.etcd import codec, wire
from store.etcd.channel import Stream
from store.etcd.connections import Connections
from store.etcd.status import refusal
from store.protocol import DEFAULT_TIMEOUT_SECONDS
from store.values import WatchResponse

INBOX_LIMIT_BYTES = 64 * 1024 * 1024


class EtcdWatch:
    """`store.protocol.Watch`. One task at a time iterates; `close` may come from another.

    Silence, that is neither event nor progress notification for `silence_limit_seconds`, ends it
    with `Unavailable`.
    """

    def __init__(
        self, connections: Connections, request: Any, silence_limit_seconds: float
    ) -> None:
        self._connections = connections
        self._request = request
        self._silence_limit_seconds = silence_limit_seconds
        self._member = ""
        self._stream: Stream | None = None
        self._end: StoreError | None = None
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[WatchResponse]:
        return self

    async def __anext__(self) -> WatchResponse:
        if self._end:
            raise self._end
        if self._is_closed:
            raise StopAsyncIteration
        try:
            message = await self._next_message()
            self._connections.heard(self._member, message.header)
            return self._response(message)
        except StoreError as error:
            if self._is_closed:
                raise StopAsyncIteration from None
            self._connections.broke(self._member, error)
            self._end = error
            await self._release()
            raise

    async def close(self) -> None:
        self._is_closed = True
        await self._release()

    async def _next_message(self) -> Any:
        if self._stream is None:
            return await self._open()
        try:
            async with asyncio.timeout(self._silence_limit_seconds):
                return await self._stream.receive()
        except TimeoutError:
            raise Unavailable(
                f"etcd at {self._member} said nothing on a watch for"
                f" {self._silence_limit_seconds:g} s: set its watch-progress-notify-interval to"
                " less than half of that"
            ) from None

    async def _open(self) -> Any:
        """Send the request and wait for the first message, which says `created`."""
        self._member, self._stream = self._connections.stream(
            wire.WATCH, limit_bytes=INBOX_LIMIT_BYTES
        )
        try:
            async with asyncio.timeout(DEFAULT_TIMEOUT_SECONDS):
                await self._stream.send(self._request)
                return await self._stream.receive()
        except TimeoutError:
            raise Unavailable(f"etcd at {self._member} does not answer") from None
        except asyncio.CancelledError:
            self._end = Unavailable("this watch was cancelled before it was open")
            raise

    def _response(self, message: Any) -> WatchResponse:
        if not message.canceled:
            return codec.watch_response(message)
        if message.compact_revision:
            self._end = Compacted(
                f"the watch began before revision {message.compact_revision}, where etcd's history"
                " begins now: list again",
                message.compact_revision,
            )
            return codec.watch_response(message)
        raise self._refusal(message)

    def _refusal(self, message: Any) -> StoreError:
        """etcd answers a forbidden watch with `created` and `canceled` at once, and with no
        reason in some versions."""
        reason = message.cancel_reason
        if refused := refusal(self._member, reason):
            return refused
        if message.created:
            return PermissionDenied(f"etcd at {self._member} refuses the watch: {reason}")
        return Unavailable(f"etcd at {self._member} has ended the watch: {reason}")

    async def _release(self) -> None:
        if self._stream:
            await self._stream.close()
