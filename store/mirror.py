"""A mirror of everything under one prefix, kept by one list and one watch.

Theory of operation
-------------------
*One watch.* A store orders events within a watch, not across watches. With a single watch over
the root prefix the mirror is at any time the exact state at one revision.

*List, then follow.* The listing's pages are pinned to one revision R; the watch begins at R + 1.
The position moves only past complete revisions: behind the last event of a response whose
fragments are all there, or to the revision of a progress notification. When the watch breaks it
resumes from the position, so that nothing is missed and nothing is seen twice. When history no
longer reaches back to the position, the mirror lists again and delivers the difference, deletes
included.

*Doubt.* Stores have had bugs: events delivered twice, late, or never. Events that are already
known are dropped and counted. One that should have come earlier, or does not follow from what is
known, means that something was kept from us: it is counted, and everything is listed again.

*Time travel.* A lower revision or raft term than we have seen comes from a member that lags, which
passes, or from a store that was restored from a backup or wiped, which does not. Nothing
that was concluded from what we have read is valid then: `run` raises `StoreReplaced`.

*Flow.* The sink runs between two reads, so there is no queue to overflow. While it is slow the
store holds the events back, and then reads them from its history.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import NoReturn

from store.errors import Compacted, FutureRevision, OutcomeUnknown, Unavailable
from store.fragments import Assembler
from store.ledger import Anomaly, Batch, Change, Ledger, Version
from store.lineage import Lineage
from store.listing import DEFAULT_PAGE_SIZE, list_prefix
from store.patience import Clock, Patience
from store.protocol import PROGRESS_SECONDS, Store
from store.values import WatchResponse, prefix_end

__all__ = ["Anomaly", "Batch", "Change", "Mirror", "Version"]

Sink = Callable[[Batch], None]

DEFAULT_SILENCE_LIMIT_SECONDS = 2.5 * PROGRESS_SECONDS
"""A watch that is given up for nothing costs one request."""


class Mirror:
    """Delivers every change under `prefix` to `sink`, in order, in steps of whole revisions.

    `sink` is called synchronously and must not await; the first batch is the first listing, and
    may be empty. The mirror itself keeps versions, not values.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        sink: Sink,
        *,
        clock: Clock,
        rng: random.Random,
        page_size: int = DEFAULT_PAGE_SIZE,
        silence_limit_seconds: float | None = DEFAULT_SILENCE_LIMIT_SECONDS,
    ) -> None:
        self.is_synced = False
        self.last_heard: float | None = None
        """When, on `clock`, the store last said anything."""

        self._store = store
        self._prefix = prefix
        self._sink = sink
        self._clock = clock
        self._page_size = page_size
        self._silence_limit_seconds = silence_limit_seconds
        self._pauses = Patience(clock, rng, limit_seconds=inf)
        self._limited_at = -inf
        self._ledger = Ledger()
        probe_pauses = replace(self._pauses, first_wait_seconds=0.5)
        self._lineage = Lineage(store, prefix, probe_pauses, self._ledger.anomalies)
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}

    @property
    def revision(self) -> int:
        """Everything up to this revision has been delivered."""
        return self._ledger.revision

    @property
    def versions(self) -> Mapping[str, Version]:
        """Of every key that is there. Do not keep it: a listing replaces it."""
        return self._ledger.versions

    @property
    def anomalies(self) -> Counter[Anomaly]:
        return self._ledger.anomalies

    async def run(self) -> NoReturn:
        """Mirror for ever, through broken connections.

        Raises `StoreReplaced` when this is another store, or an earlier state of it, than the one
        read so far; `PermissionDenied` and `Invalid` pass through.
        """
        failures = 0
        while True:
            position = self.revision
            try:
                if self._ledger.needs_listing:
                    await self._list()
                await self._follow()
            except Compacted:
                self.anomalies[Anomaly.COMPACTED] += 1
                self._ledger.needs_listing = True
            except TimeoutError:
                self.anomalies[Anomaly.SILENCE] += 1
            except (Unavailable, OutcomeUnknown, FutureRevision):
                self.anomalies[Anomaly.WATCH_ERROR] += 1
            failures = 1 if self.revision > position else failures + 1
            await asyncio.sleep(self._pauses.wait_seconds(failures))

    async def synced(self) -> None:
        """Wait for the first listing to be delivered."""
        await self.until(lambda: self.is_synced)

    async def reached(self, revision: int) -> None:
        """Wait until everything up to `revision` is delivered.

        For a revision that changed something under the prefix: of others the mirror hears only
        with the next event or progress notification.
        """
        await self.until(lambda: self.revision >= revision)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate` holds; it is asked now, and after each step.

        More steps may have followed when the caller goes on.
        """
        if predicate():
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = predicate
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    async def _list(self) -> None:
        listing = await list_prefix(self._store, self._prefix, page_size=self._page_size)
        has_gone_back = self._lineage.is_behind(listing.header, self.revision)
        await self._lineage.require_same(listing.header, self.revision)
        if has_gone_back:
            raise Unavailable("the listing came from a member that lags behind")
        self._lineage.remember(listing.header)
        self.last_heard = self._clock()
        if self.is_synced:
            self.anomalies[Anomaly.RELIST] += 1
        self.is_synced = True
        self._sink(self._ledger.fold_listing(listing))
        self._wake()

    async def _follow(self) -> None:
        """Watch from the position on, until the watch breaks (raises) or the ledger doubts."""
        watch = self._store.watch(
            self._prefix, range_end=prefix_end(self._prefix), start_revision=self.revision + 1
        )
        assembler = Assembler(self.anomalies)
        try:
            async with asyncio.timeout(self._silence_limit_seconds) as silence:
                async for response in watch:
                    self._hear(silence)
                    if response.canceled:
                        _raise_end_of(response)
                    if response.created:
                        await self._lineage.require_same(response.header, self.revision)
                    elif whole := assembler.add(response):
                        self._take(whole)
                    if self._ledger.needs_listing:
                        return
        finally:
            await watch.close()
        raise Unavailable("the watch has ended without a reason")

    def _hear(self, silence: asyncio.Timeout) -> None:
        """Note that the store lives. The timer is moved rarely: it costs more than an event."""
        now = self.last_heard = self._clock()
        limit = self._silence_limit_seconds
        if limit is not None and now - self._limited_at > limit / 25:
            self._limited_at = now
            silence.reschedule(asyncio.get_running_loop().time() + limit)

    def _take(self, response: WatchResponse) -> None:
        batch = self._ledger.fold(response)
        if batch:
            self._sink(batch)
        self._wake()

    def _wake(self) -> None:
        for waiter, predicate in self._waiters.items():
            if not waiter.done() and predicate():
                waiter.set_result(None)


def _raise_end_of(response: WatchResponse) -> NoReturn:
    if response.compact_revision:
        raise Compacted(response.cancel_reason, response.compact_revision)
    raise Unavailable(f"the store has ended the watch: {response.cancel_reason}")
