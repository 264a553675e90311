"""Streams that outlive the server that they come from: watches and logs.

A stream that breaks off is begun anew, on whichever server answers. That tells everything again,
so what has been told is passed over; and what has gone in between is told as deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Generic, TypeVar

from orchestrator.cli.answers import WatchEvent
from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import Refused, ServerUnreachable, StreamBroken
from orchestrator.model.answers import LogEntry, WatchType
from orchestrator.model.log_cursor import LogCursor
from orchestrator.model.workload import WorkloadKey

T = TypeVar("T")

OUTAGE_LIMIT_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 2.0


async def follow_watch(
    client: ApiClient, form: type[T], *, namespace: str | None = None, name: str | None = None
) -> AsyncGenerator[WatchEvent[T], None]:
    """What there is, SYNC, and then every change, for ever.

    Raises `ServerUnreachable` when no server has answered for too long, and `Refused`.
    """
    known: _Known[T] = _Known()
    outage = _Outage()
    while True:
        events = client.watch(form, namespace=namespace, name=name)
        async with outage.borne(), aclosing(known.news_in(events)) as news:
            async for event in news:
                outage.end()
                yield event


class _Known(Generic[T]):
    """What has been told so far. Things without a name (events) are known by all they say."""

    def __init__(self) -> None:
        self._told: dict[Hashable, WatchEvent[T]] = {}
        self._listed: set[Hashable] = set()
        self._is_listing = True

    async def news_in(
        self, events: AsyncGenerator[WatchEvent[T], None]
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """What one watch says that was not known."""
        self._listed.clear()
        self._is_listing = True
        async with aclosing(events):
            async for event in events:
                for news in self._news_of(event):
                    yield news
        raise StreamBroken("the server has ended the watch")

    def _news_of(self, event: WatchEvent[T]) -> Iterator[WatchEvent[T]]:
        key = event.identity if event.identity.name else repr(event.object)
        if event.type is WatchType.SYNC:
            yield from self._gone(event.revision)
            yield event
        elif event.type is WatchType.DELETED:
            if self._told.pop(key, None):
                yield event
        else:
            self._listed.add(key)
            yield from self._changed(key, event)

    def _changed(self, key: Hashable, event: WatchEvent[T]) -> Iterator[WatchEvent[T]]:
        told = self._told.get(key)
        self._told[key] = event
        if told is None or told.object != event.object:
            kind = WatchType.MODIFIED if told else WatchType.ADDED
            yield WatchEvent(kind, event.revision, event.identity, event.object)

    def _gone(self, revision: int) -> Iterator[WatchEvent[T]]:
        """At the end of a list: what was there before and is not in it."""
        gone = self._told.keys() - self._listed if self._is_listing else set()
        self._is_listing = False
        for key in gone:
            yield WatchEvent(WatchType.DELETED, revision, self._told.pop(key).identity)


async def follow_logs(
    client: ApiClient,
    of: WorkloadKey | str,
    *,
    container: str | None = None,
    tail: int | None = None,
    since: float | None = None,
) -> AsyncGenerator[LogEntry, None]:
    """Lines so far and those that come, each once, until there can be no more of them."""
    cursor = LogCursor(is_cut=tail is not None)
    outage = _Outage()
    is_at_end = False
    while not is_at_end:
        wanted = None if cursor.has_moved else tail
        lines = client.logs(of, container=container, follow=True, tail=wanted, since=since)
        async with outage.borne(), aclosing(_new_lines(lines, cursor)) as news:
            async for line in news:
                outage.end()
                yield line
            is_at_end = True


async def _new_lines(
    lines: AsyncGenerator[LogEntry, None], cursor: LogCursor
) -> AsyncGenerator[LogEntry, None]:
    """What one stream says beyond the cursor. What the server says itself is always new."""
    cursor.begin()
    async with aclosing(lines):
        async for line in lines:
            source = (line.instance, line.container)
            if line.stream == "system" or cursor.is_new(source, line.time):
                yield line


class _Outage:
    """How long to go on asking when servers that have answered before answer no more."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._was_answered = False

    def end(self) -> None:
        """There is an answer."""
        self._since = None
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._was_answered = True

    @asynccontextmanager
    async def borne(self) -> AsyncIterator[None]:
        """Around one attempt, which the next one follows: passes over its failure after a wait
        that grows, unless no server has answered yet, or none for `OUTAGE_LIMIT_SECONDS`. A
        server that no longer has the history is asked again at once."""
        try:
            yield
        except ServerUnreachable as error:
            await self._wait_after(error)
        except Refused as error:
            if error.status != HTTPStatus.GONE:
                raise

    async def _wait_after(self, error: ServerUnreachable) -> None:
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        self._was_answered |= isinstance(error, StreamBroken)  # even if it was silent so far
        if not self._was_answered or now - self._since > OUTAGE_LIMIT_SECONDS:
            raise error
        await asyncio.sleep(self._wait_seconds)
        self._wait_seconds = min(2 * self._wait_seconds, _MAX_WAIT_SECONDS)
