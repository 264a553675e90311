"""A session: a lease that is kept alive, and how far its holder may believe in it.

Theory of operation
-------------------
The store counts a lease's time from when it *carried out* a renewal; we cannot know when that
was, but it was not before we sent it. So belief is counted from the moment of sending: it always
ends before the lease does. `is_trusted` ends at two thirds of the TTL, so that what is dispatched
on its strength still arrives in time; at the whole TTL the session is lost for good, even if the
store should still have the lease. The clock must run through suspend.

Belief bounds wasted work. It is never the safety argument: that is the `Fence` in every write
(see "Two guards" in `store.transactions`), for a process can be paused between looking and acting.
"""

from __future__ import annotations

import asyncio
import random
from math import inf
from typing import NoReturn

from store.errors import (
    LeaseExists,
    LeaseNotFound,
    OutcomeUnknown,
    SessionLost,
    StoreError,
    Unavailable,
)
from store.patience import Clock, Patience
from store.protocol import KeepAliveStream, Store


class Session:
    """One lease of `ttl_seconds`, from `open` until `close` or `SessionLost`.

    A lost session stays lost; who wants to go on opens a new one. `lease_id` is drawn from `rng`
    unless given, so that granting can be repeated when its outcome is unknown.
    """

    def __init__(
        self,
        store: Store,
        *,
        ttl_seconds: int,
        clock: Clock,
        rng: random.Random,
        lease_id: int | None = None,
    ) -> None:
        self.lease_id = lease_id or rng.randrange(1, 2**63)
        self.ttl_seconds = ttl_seconds
        self.longest_gap_seconds = 0.0
        """Between two renewals that were answered, from the sending of one to that of the next.
        A third of the TTL is usual; what is trusted ends at two thirds."""

        self._store = store
        self._clock = clock
        self._pauses = Patience(clock, rng, limit_seconds=inf, max_wait_seconds=ttl_seconds / 10)
        self._believed_since: float | None = None
        self._failures = 0

    def remaining_seconds(self) -> float:
        """How long the lease surely lasts; 0 when it is not open, or may have ended."""
        if self._believed_since is None:
            return 0.0
        return max(0.0, self._believed_since + self.ttl_seconds - self._clock())

    @property
    def believed_until(self) -> float | None:
        """Until when the lease surely lasts, on the clock; None when it is not open or has ended.
        Unlike `remaining_seconds` it stays true however late it is used."""
        if self._believed_since is None:
            return None
        return self._believed_since + self.ttl_seconds

    def is_trusted(self) -> bool:
        """Whether there is time enough left to dispatch work that relies on the lease."""
        return self.remaining_seconds() > self.ttl_seconds / 3

    async def open(self, patience: Patience) -> None:
        """Grant the lease, trying again for as long as `patience` lasts.

        Raises `Unavailable` or `OutcomeUnknown` when patience ends; `Refused` and its kinds
        (`NoSpace` among them) pass through.
        """
        may_have_been_granted_at: float | None = None
        async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
            with attempt:
                sent = self._clock()
                try:
                    await self._store.grant_lease(
                        self.lease_id, self.ttl_seconds, timeout_seconds=self.ttl_seconds / 3
                    )
                except OutcomeUnknown:
                    if may_have_been_granted_at is None:
                        may_have_been_granted_at = sent
                    raise
                except LeaseExists:
                    if may_have_been_granted_at is None:
                        raise
                    sent = may_have_been_granted_at
                self._believed_since = sent

    async def keep_alive(self) -> NoReturn:
        """Renew until the lease is surely lost, or may be; then raise `SessionLost`.

        A renewal is due after a third of the TTL. One that is not answered within another third
        is sent again on a new stream, which the store opens elsewhere if it can. Errors that no
        repetition helps against (`PermissionDenied`, `StoreReplaced`) pass through.
        """
        stream = self._store.keep_alive_stream()
        try:
            while True:
                await self._wait_until_renewal_is_due()
                try:
                    await self._renew(stream)
                    self._failures = 0
                except (Unavailable, OutcomeUnknown):
                    self._failures += 1
                    await stream.close()
                    stream = self._store.keep_alive_stream()
        finally:
            await stream.close()

    async def close(self, *, timeout_seconds: float = 1.0) -> None:
        """Give the lease back, and with it all keys that hang on it; if that fails, it expires.

        Never raises a `StoreError`: the caller is leaving, and the TTL does the same a bit later.
        """
        self._believed_since = None
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._store.revoke_lease(self.lease_id, timeout_seconds=timeout_seconds)
        except (StoreError, TimeoutError):
            return

    async def _wait_until_renewal_is_due(self) -> None:
        """A third of the TTL, jittered so that a thousand agents do not renew in step; after a
        failure at once, then with growing pauses."""
        remaining = self.remaining_seconds()
        if self._failures:
            wait = min(self._pauses.wait_seconds(self._failures), remaining)
        else:
            wait = (remaining - self.ttl_seconds * 2 / 3) * self._pauses.rng.uniform(0.8, 1.0)
        await asyncio.sleep(max(0.0, wait))

    async def _renew(self, stream: KeepAliveStream) -> None:
        remaining = self.remaining_seconds()
        if not remaining:
            raise SessionLost(
                f"no renewal of lease {self.lease_id} was answered for its TTL of"
                f" {self.ttl_seconds} s: the store may have ended it"
            )
        sent = self._clock()
        try:
            answer = await stream.renew(
                self.lease_id, timeout_seconds=min(self.ttl_seconds / 3, remaining)
            )
            has_ended = answer.ttl_seconds <= 0
        except LeaseNotFound:
            has_ended = True
        if has_ended or self._believed_since is None:
            self._believed_since = None
            raise SessionLost(f"lease {self.lease_id} has ended: it expired or was revoked")
        self.longest_gap_seconds = max(self.longest_gap_seconds, sent - self._believed_since)
        self._believed_since = sent
