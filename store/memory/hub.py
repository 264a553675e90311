"""Routes what was committed to the watches that cover it, and lets the late ones catch up."""

from __future__ import annotations

from collections.abc import Iterator

from store.errors import Compacted
from store.memory.engine import Engine
from store.memory.keyspace import encoded
from store.memory.routes import Routes
from store.memory.watch import MemoryWatch
from store.values import Event, Header

BATCH_REVISIONS = 1000
"""How many revisions etcd merges into one response when a watch catches up."""


class WatchHub:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: dict[MemoryWatch, None] = {}
        self._routes = Routes()
        self._opened = 0
        self.follow(engine)

    def follow(self, engine: Engine) -> None:
        """From now on `engine` is the store: every open watch breaks."""
        self._engine = engine
        for watch in list(self._watches):
            watch.break_off()

    def header(self) -> Header:
        return self._engine.header()

    def compacted(self) -> int:
        return self._engine.compacted

    def compact_all(self) -> None:
        if self._engine.compacted < self._engine.revision:
            self._engine.compact(self._engine.revision)

    def open(self, watch: MemoryWatch) -> None:
        if not watch.is_live():
            return
        self._opened += 1
        watch.number = self._opened
        watch.send_created()
        self._watches[watch] = None
        self._routes.add(watch)
        if watch.next_revision == 0:
            watch.next_revision = self._engine.revision + 1
        self.catch_up(watch)

    def drop(self, watch: MemoryWatch) -> None:
        if watch in self._watches:
            del self._watches[watch]
            self._routes.remove(watch)

    def publish(self, revision: int, events: tuple[Event, ...]) -> None:
        if len(events) == 1:
            for watch in self._routes.covering(events[0].kv.key):
                watch.offer(revision, events)
            return
        shares: dict[MemoryWatch, list[Event]] = {}
        for event in events:
            for watch in self._routes.covering(event.kv.key):
                shares.setdefault(watch, []).append(event)
        for watch, share in shares.items():
            watch.offer(revision, tuple(share))

    def catch_up(self, watch: MemoryWatch) -> None:
        """Send from history, in large responses, what the watch has not been sent."""
        watch.is_behind = False
        try:
            for last_revision, events in self._batches(watch):
                watch.send(last_revision, events)
                if watch not in self._watches:
                    return
        except Compacted:
            watch.cancel_compacted()

    def notify_progress(self) -> None:
        """As etcd's timer does, for every watch to which nothing was sent since the last time."""
        for watch in list(self._watches):
            if watch.is_idle:
                watch.send_progress()
            watch.is_idle = True

    def _batches(self, watch: MemoryWatch) -> Iterator[tuple[int, tuple[Event, ...]]]:
        batch: list[Event] = []
        revisions = last = 0
        for last, events in self._engine.events_since(watch.next_revision):
            share = [event for event in events if watch.covers(encoded(event.kv.key))]
            batch += share
            revisions += bool(share)
            if revisions == BATCH_REVISIONS:
                yield last, tuple(batch)
                batch, revisions = [], 0
        if batch:
            yield last, tuple(batch)
