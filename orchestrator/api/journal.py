"""`Journal`: which keys changed of late, in order, for any number of readers.

A reader keeps its own position and looks at the state when it reads. The journal is bounded: a
reader that falls too far behind is told to list again, and delays no other reader.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from orchestrator.api.errors import HistoryGone
from orchestrator.cluster.view import ClusterView, ViewChange

KEPT_CHANGES = 20_000


class Journal:
    """Positions count changes since this replica began; revisions are the store's."""

    def __init__(self, view: ClusterView, *, kept_changes: int = KEPT_CHANGES) -> None:
        self.position = 0
        self.since_revision = view.revision
        """Everything that changed after this revision is still here."""

        self._view = view
        self._kept_changes = kept_changes
        self._entries: deque[tuple[int, str]] = deque()
        self._news = asyncio.Event()
        self._latest: tuple[int, int, tuple[str, ...]] = (0, 0, ())
        view.attach(self)

    def offer(self, changes: Iterable[ViewChange]) -> None:
        """Take in one batch. The first listing is no change: it is where this replica begins."""
        revision = self._view.revision
        if self.since_revision == 0:
            self.since_revision = revision
            return
        for change in changes:
            self._entries.append((revision, change.key))
            self.position += 1
        while len(self._entries) > self._kept_changes:
            self.since_revision, _ = self._entries.popleft()
        self._news.set()
        self._news = asyncio.Event()

    async def beyond(self, position: int, *, timeout_seconds: float) -> bool:
        """Wait until something has changed after `position`; whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self.position <= position:
                    await self._news.wait()
        return self.position > position

    def keys_after(self, position: int) -> tuple[str, ...]:
        """What changed after `position`, each key once. Raises `HistoryGone`.

        Most readers are at the same position: they get the very same answer.
        """
        count = self.position - position
        if count > len(self._entries):
            raise HistoryGone("this watch has fallen too far behind: list again, then watch on")
        if self._latest[:2] != (position, self.position):
            newest = [key for _, key in islice(reversed(self._entries), count)]
            keys = tuple(dict.fromkeys(reversed(newest)))
            self._latest = position, self.position, keys
        return self._latest[2]

    def keys_after_revision(self, revision: int) -> list[str]:
        """What changed after `revision`, each key once. Raises `HistoryGone`."""
        if revision < self.since_revision:
            raise HistoryGone(
                f"this replica knows what has changed since revision {self.since_revision}, but "
                f"not since {revision}: list again, then watch on"
            )
        return list(dict.fromkeys(key for at, key in self._entries if at > revision))
