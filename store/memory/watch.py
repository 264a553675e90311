"""Watches: every revision from where one starts, in etcd's response shapes, over its link."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from store.errors import Compacted, StoreError, Unavailable
from store.memory.keyspace import interval
from store.memory.link import Link
from store.protocol import DEFAULT_TIMEOUT_SECONDS
from store.values import Event, WatchResponse

if TYPE_CHECKING:
    from store.memory.hub import WatchHub

RECENT_RESPONSES = 8


class MemoryWatch:
    """One client's watch. It opens when it is first asked for a response."""

    def __init__(
        self, hub: WatchHub, link: Link, key: str, range_end: str | None, start_revision: int
    ) -> None:
        self.key = key or "\0"
        self.range_end = range_end or None
        self.number = 0
        """In the order in which the store's watches were opened."""
        self.next_revision = start_revision
        """What came before has been sent, or was not asked for. 0: from when it opens."""
        self.is_idle = True
        """Nothing was sent since the last progress notification."""
        self._hub = hub
        self._link = link
        self._low, self._high = interval(self.key, range_end)
        self.is_behind = False
        """It has to catch up from history, as far as that still reaches."""
        self._is_open = self._is_broken = False
        self._received: asyncio.Queue[WatchResponse | Exception] = asyncio.Queue()
        self._held: list[WatchResponse | StoreError] = []
        self._recent: deque[WatchResponse] = deque(maxlen=RECENT_RESPONSES)
        self._travelling: deque[WatchResponse | StoreError] = deque()
        self._last_due = 0.0

    def __aiter__(self) -> AsyncIterator[WatchResponse]:
        return self

    async def __anext__(self) -> WatchResponse:
        if not self._is_open and not self._is_broken:
            self._is_open = True
            await self._open()
        response = await self._received.get()
        if isinstance(response, WatchResponse):
            return response
        self._received.put_nowait(response)
        raise response

    async def close(self) -> None:
        self._hub.drop(self)
        self._link.watches.pop(self, None)
        self._is_broken = True
        self._received.put_nowait(StopAsyncIteration())

    def covers(self, name: bytes) -> bool:
        """`name`: a key as etcd sorts it."""
        return self._low <= name and (self._high is None or name < self._high)

    def offer(self, revision: int, events: tuple[Event, ...]) -> None:
        """Something happened in the range. A client that holds up too much falls behind."""
        if revision < self.next_revision or self.is_behind:
            return
        if self._link.is_stalled and len(self._held) >= self._link.luck.meanness.watch_buffer:
            self.is_behind = True
            return
        self.send(revision, events)

    def send(self, last_revision: int, events: tuple[Event, ...]) -> None:
        """Everything in the range from `next_revision` to `last_revision`."""
        luck = self._link.luck
        mean = luck.meanness
        if luck.happens(mean.watch_compacted):
            self._hub.compact_all()
            self.cancel_compacted()
            return
        self.next_revision = last_revision + 1
        self.is_idle = False
        response = WatchResponse(self._hub.header(), events)
        self._send_fragments(response)
        if mean.watch_repeated > 0.0:
            self._recent.append(response)
            if luck.happens(mean.watch_repeated):
                self._send_fragments(self._recent[luck.below(len(self._recent))])
        if luck.happens(mean.watch_broken):
            self.break_off()

    def send_created(self) -> None:
        self._travel(WatchResponse(self._hub.header(), created=True))

    def send_progress(self) -> None:
        """Say that everything so far was sent; a watch that is behind says nothing."""
        if not self.is_behind:
            self._travel(WatchResponse(self._hub.header()))

    def cancel_compacted(self) -> None:
        """The last response: what should come next is history. Its header has no revision."""
        header = replace(self._hub.header(), revision=0)
        compacted = self._hub.compacted()
        self._travel(WatchResponse(header, canceled=True, compact_revision=compacted))
        self._travel(Compacted(f"the watch asks for more than revision {compacted}", compacted))
        self._hub.drop(self)

    def break_off(self) -> None:
        """The connection breaks: what is on its way is lost."""
        self._hub.drop(self)
        self._is_broken = True
        self._held = [Unavailable("the connection of the watch broke")]
        if not self._link.is_stalled:
            self.flush()

    def flush(self) -> None:
        """The link flows again."""
        for response in self._held:
            self._received.put_nowait(response)
        self._held.clear()
        if self._is_broken:
            self._link.watches.pop(self, None)
        elif self.is_behind:
            self._hub.catch_up(self)

    def is_live(self) -> bool:
        return not self._is_broken

    async def _open(self) -> None:
        self._link.watches[self] = None
        try:
            await self._link.call(lambda: self._hub.open(self), DEFAULT_TIMEOUT_SECONDS)
        except Unavailable:
            self.break_off()

    def _send_fragments(self, response: WatchResponse) -> None:
        size = self._link.luck.meanness.fragment_events
        if not 0 < size < len(response.events):
            self._travel(response)
            return
        for start in range(0, len(response.events), size):
            events = response.events[start : start + size]
            is_last = start + size >= len(response.events)
            self._travel(replace(response, events=events, is_fragment=not is_last))

    def _travel(self, response: WatchResponse | StoreError) -> None:
        """Timers due at one instant fire in any order; so each brings whatever is first."""
        luck = self._link.luck
        delay = luck.seconds(luck.meanness.watch_seconds)
        if delay == 0.0 and not self._travelling:
            self._arrive(response)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        self._last_due = max(self._last_due, due)
        self._travelling.append(response)
        loop.call_at(
            self._last_due,
            lambda: self._arrive(self._travelling.popleft()),
            context=self._link.context,
        )

    def _arrive(self, response: WatchResponse | StoreError) -> None:
        if self._is_broken:
            return
        if self._link.is_stalled:
            self._held.append(response)
        else:
            self._received.put_nowait(response)
