"""`EventLog`: what happened and why, for people. Kept for a day, then it expires by itself.

Events hang on one lease per hour, shared by every writer in the cluster: its id is computed
from the hour, so that whoever comes first grants it and everybody else finds it there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress

from orchestrator.model.keys import Keys
from orchestrator.model.node import Event
from orchestrator.model.records import dump
from store.errors import LeaseExists
from store.protocol import Store
from store.transactions import Put

SECONDS_AN_HOUR = 3600
KEPT_SECONDS = 24 * SECONDS_AN_HOUR


class EventLog:
    """Makes the rows; whoever changes something puts them into the same transaction."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        *,
        by: str,
        wall_clock: Callable[[], float],
        rng: random.Random,
        is_thinned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.is_thinned = is_thinned
        """Whether the store is so full that whoever can do without an event should."""
        self._store = store
        self._keys = keys
        self._by = by
        self._wall_clock = wall_clock
        self._rng = rng
        self._hour_with_lease = -1

    async def put_for(self, kind: str, subject: str, reason: str, *, namespace: str = "") -> Put:
        """The row of one event, ready for a transaction. Raises `StoreError` without a lease."""
        at = self._wall_clock()
        hour = int(at) // SECONDS_AN_HOUR
        if hour != self._hour_with_lease:
            await self._ensure_lease(hour)
        event = Event(at, kind, subject, reason, self._by, namespace)
        name = f"{int(at * 1_000_000):020d}-{self._rng.getrandbits(32):08x}"
        return Put(self._keys.event(hour, name), dump(event), base=0, lease=self._lease_id(hour))

    def forget_lease(self) -> None:
        """Grant anew before the next event: a commit has met `LeaseNotFound`."""
        self._hour_with_lease = -1

    async def _ensure_lease(self, hour: int) -> None:
        with suppress(LeaseExists):
            await self._store.grant_lease(self._lease_id(hour), KEPT_SECONDS)
        self._hour_with_lease = hour

    def _lease_id(self, hour: int) -> int:
        digest = hashlib.sha256(f"{self._keys.root} events {hour}".encode()).digest()
        return int.from_bytes(digest[:8]) >> 1 or 1
