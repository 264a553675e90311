"""`MemoryStore`: the `Store` protocol on a `MemoryCluster`, over one client's link."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from store.errors import Unavailable
from store.memory.link import Link
from store.memory.watch import MemoryWatch
from store.protocol import DEFAULT_TIMEOUT_SECONDS
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
)

if TYPE_CHECKING:
    from store.memory.cluster import MemoryCluster

T = TypeVar("T")

SNAPSHOT_CHUNK_BYTES = 64 * 1024


class MemoryStore:
    """One client's handle; nothing of it outlives `close` but what it has written."""

    def __init__(self, cluster: MemoryCluster, link: Link) -> None:
        self._cluster = cluster
        self._link = link
        self._watches: list[MemoryWatch] = []
        self._is_closed = False

    async def range(
        self, op: RangeOp, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> RangeResult:
        return await self._read(partial(self._range, op), timeout_seconds)

    async def txn(self, txn: Txn, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> TxnResult:
        is_write = not all(isinstance(op, RangeOp) for op in (*txn.success, *txn.failure))
        self._check_open()
        return await self._link.call(
            lambda: self._cluster.engine.txn(txn), timeout_seconds, is_write=is_write
        )

    def watch(
        self, key: str, *, range_end: str | None = None, start_revision: int = 0
    ) -> MemoryWatch:
        watch = MemoryWatch(self._cluster.hub, self._link, key, range_end, start_revision)
        self._watches = [*filter(MemoryWatch.is_live, self._watches), watch]
        return watch

    async def grant_lease(
        self,
        lease_id: int,
        ttl_seconds: int,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseGrant:
        return await self._write(partial(self._grant, lease_id, ttl_seconds), timeout_seconds)

    async def revoke_lease(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        await self._write(lambda: self._cluster.engine.revoke(lease_id), timeout_seconds)

    async def lease_time_to_live(
        self,
        lease_id: int,
        *,
        keys: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseTimeToLive:
        cluster = self._cluster
        return await self._read(
            lambda: cluster.engine.time_to_live(lease_id, cluster.clock(), keys=keys),
            timeout_seconds,
        )

    def keep_alive_stream(self) -> MemoryKeepAlive:
        return MemoryKeepAlive(self)

    async def compact(
        self,
        revision: int,
        *,
        member: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        await self._write(partial(self._cluster.compact, revision, member), timeout_seconds)

    async def members(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[MemberStatus, ...]:
        try:
            return await self._read(self._cluster.members, timeout_seconds)
        except Unavailable:
            return ()

    async def alarms(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[Alarm, ...]:
        return await self._read(lambda: tuple(self._cluster.engine.quota.alarms), timeout_seconds)

    async def disarm(
        self, alarm: Alarm, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        await self._write(lambda: self._cluster.engine.quota.disarm(alarm), timeout_seconds)

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        await self._write(partial(self._cluster.defragment, endpoint), timeout_seconds)

    async def snapshot(self, *, timeout_seconds: float = 600.0) -> AsyncGenerator[bytes, None]:
        backup = await self._read(self._cluster.backup, timeout_seconds)
        for start in range(0, len(backup), SNAPSHOT_CHUNK_BYTES):
            yield backup[start : start + SNAPSHOT_CHUNK_BYTES]

    async def renew_lease(self, lease_id: int, timeout_seconds: float) -> LeaseKeepAlive:
        """What a keepalive stream sends."""
        return await self._read(partial(self._renew, lease_id), timeout_seconds)

    async def close(self) -> None:
        self._is_closed = True
        for watch in self._watches:
            await watch.close()

    async def _read(self, action: Callable[[], T], timeout_seconds: float) -> T:
        self._check_open()
        return await self._link.call(action, timeout_seconds)

    async def _write(self, action: Callable[[], T], timeout_seconds: float) -> T:
        self._check_open()
        return await self._link.call(action, timeout_seconds, is_write=True)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("this store was closed")

    def _range(self, op: RangeOp) -> RangeResult:
        """Like etcd's worst: some answers are of a past, though their reader asked for now."""
        engine, luck = self._cluster.engine, self._link.luck
        if not luck.happens(luck.meanness.stale_read):
            return engine.range(op)
        past = engine.revision - 1 - luck.below(luck.meanness.stale_revisions)
        return engine.range(op, as_of=max(past, engine.compacted, 1))

    def _grant(self, lease_id: int, ttl_seconds: int) -> LeaseGrant:
        cluster = self._cluster
        grant = cluster.engine.grant(lease_id, ttl_seconds, cluster.clock())
        cluster.arm_expiry()
        return grant

    def _renew(self, lease_id: int) -> LeaseKeepAlive:
        engine, luck = self._cluster.engine, self._link.luck
        if engine.leases.find(lease_id) and luck.happens(luck.meanness.lease_lost):
            engine.revoke(lease_id)
        return engine.keep_alive(lease_id, self._cluster.clock())


class MemoryKeepAlive:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._is_closed = False

    async def renew(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> LeaseKeepAlive:
        if self._is_closed:
            raise Unavailable("this stream was closed")
        return await self._store.renew_lease(lease_id, timeout_seconds)

    async def close(self) -> None:
        self._is_closed = True
