"""`Store`: all that this project asks of etcd.

Two implementations: `store.etcd.EtcdStore` on a real cluster and `store.memory.MemoryStore`,
which has the same semantics on an injected clock and can be told to be meaner than etcd. One
contract suite runs on both. Everything above this seam (transactions, sessions, election,
mirror, maintenance) is written once, on `Store` alone.

Each method is *one attempt* with a deadline: it answers, or raises a `StoreError`. It never
repeats a write by itself: that rule lives in `store.commit`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from store.values import (
    Alarm,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseTimeToLive,
    MemberStatus,
    RangeOp,
    RangeResult,
    Txn,
    TxnResult,
    WatchResponse,
)

DEFAULT_TIMEOUT_SECONDS = 5.0

PROGRESS_SECONDS = 10.0
"""How often a store that we set up tells an idle watch how far it has come: etcd's
--watch-progress-notify-interval, of which its own default, 10 minutes, is of no use. All limits
of silence are multiples of it."""


class Watch(Protocol):
    """One watch. Iterate it; it ends by raising a `StoreError`, never by silence.

    The first response has `created`. A refused watch raises `PermissionDenied`; one that
    starts in compacted history yields a response with `canceled` and `compact_revision`.
    """

    def __aiter__(self) -> AsyncIterator[WatchResponse]: ...

    async def close(self) -> None: ...


class KeepAliveStream(Protocol):
    """One stream that renews leases. `renew` sends and waits for that lease's answer."""

    async def renew(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> LeaseKeepAlive: ...

    async def close(self) -> None: ...


class Store(Protocol):
    async def range(
        self, op: RangeOp, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> RangeResult: ...

    async def txn(
        self, txn: Txn, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> TxnResult: ...

    def watch(
        self, key: str, *, range_end: str | None = None, start_revision: int = 0
    ) -> Watch: ...

    async def grant_lease(
        self,
        lease_id: int,
        ttl_seconds: int,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseGrant: ...

    async def revoke_lease(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None: ...

    async def lease_time_to_live(
        self,
        lease_id: int,
        *,
        keys: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseTimeToLive: ...

    def keep_alive_stream(self) -> KeepAliveStream: ...

    async def compact(
        self,
        revision: int,
        *,
        member: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """`member`: the endpoint of one that is to answer only when it has removed from its file
        what this and every compaction before it forgets. Raises `Compacted` at once where
        `revision` is compacted already."""
        ...

    async def members(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[MemberStatus, ...]:
        """The status of every endpoint that answers; an unreachable one is left out."""
        ...

    async def alarms(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[Alarm, ...]: ...

    async def disarm(
        self, alarm: Alarm, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None: ...

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None: ...

    def snapshot(self, *, timeout_seconds: float = 600.0) -> AsyncGenerator[bytes, None]:
        """A backup in pieces. Close it when it is not read to its end."""
        ...

    async def close(self) -> None: ...
