"""`EtcdStore`: the store protocol on a real etcd cluster."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from store.errors import Invalid, Unavailable
from store.etcd import codec, wire
from store.etcd.connections import Connections
from store.etcd.lease import EtcdKeepAliveStream
from store.etcd.tls import Tls
from store.etcd.watch import EtcdWatch
from store.patience import Clock
from store.protocol import DEFAULT_TIMEOUT_SECONDS, PROGRESS_SECONDS
from store.values import (
    Alarm,
    LeaseGrant,
    LeaseTimeToLive,
    MemberStatus,
    RangeOp,
    RangeResult,
    Txn,
    TxnResult,
)

WATCH_SILENCE_LIMIT_SECONDS = 2 * PROGRESS_SECONDS
"""Less than what the mirror waits for: the watch, unlike it, knows which member to blame."""


class EtcdStore:
    """`store.protocol.Store` on the members at `endpoints`: "host:port" or "https://host:port".

    Connects on the first call, and then belongs to the running event loop. Certificates are read
    at once; raises `Invalid` for a bad file or endpoint. Any method raises `StoreReplaced` when
    the members turn out to be another cluster, or to have lost their history.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: Tls | None = None,
        clock: Clock = time.monotonic,
        rng: random.Random | None = None,
        watch_silence_limit_seconds: float = WATCH_SILENCE_LIMIT_SECONDS,
    ) -> None:
        self._connections = Connections(endpoints, tls, clock, rng or random.Random())
        self._watch_silence_limit_seconds = watch_silence_limit_seconds

    @property
    def stale_answers(self) -> int:
        """How many answers were refused because they came from before what was known already."""
        return self._connections.guard.stale_answers

    @property
    def current_endpoint(self) -> str:
        """The member that calls go to now."""
        return self._connections.chooser.current

    async def range(
        self, op: RangeOp, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> RangeResult:
        response = await self._connections.call(
            wire.RANGE,
            codec.range_request(op),
            timeout_seconds=timeout_seconds,
            quorum=not op.serializable,
        )
        return codec.range_result(response)

    async def txn(self, txn: Txn, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> TxnResult:
        mutation = any(not isinstance(op, RangeOp) for op in (*txn.success, *txn.failure))
        response = await self._connections.call(
            wire.TXN,
            codec.txn_request(txn),
            timeout_seconds=timeout_seconds,
            mutation=mutation,
            quorum=mutation or not _is_serializable(txn),
        )
        return codec.txn_result(response)

    def watch(
        self, key: str, *, range_end: str | None = None, start_revision: int = 0
    ) -> EtcdWatch:
        request = codec.watch_request(key, range_end, start_revision)
        return EtcdWatch(self._connections, request, self._watch_silence_limit_seconds)

    async def grant_lease(
        self, lease_id: int, ttl_seconds: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> LeaseGrant:
        response = await self._connections.call(
            wire.LEASE_GRANT,
            wire.LeaseGrantRequest(ID=lease_id, TTL=ttl_seconds),
            timeout_seconds=timeout_seconds,
            mutation=True,
        )
        return LeaseGrant(response.ID, response.TTL)

    async def revoke_lease(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        await self._connections.call(
            wire.LEASE_REVOKE,
            wire.LeaseRevokeRequest(ID=lease_id),
            timeout_seconds=timeout_seconds,
            mutation=True,
        )

    async def lease_time_to_live(
        self,
        lease_id: int,
        *,
        keys: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseTimeToLive:
        response = await self._connections.call(
            wire.LEASE_TIME_TO_LIVE,
            wire.LeaseTimeToLiveRequest(ID=lease_id, keys=keys),
            timeout_seconds=timeout_seconds,
            quorum=False,
        )
        attached = tuple(map(codec.key_text, response.keys))
        return LeaseTimeToLive(response.ID, response.TTL, response.grantedTTL, attached)

    def keep_alive_stream(self) -> EtcdKeepAliveStream:
        return EtcdKeepAliveStream(self._connections)

    async def compact(
        self,
        revision: int,
        *,
        member: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        await self._connections.call(
            wire.COMPACT,
            wire.CompactionRequest(revision=revision, physical=member is not None),
            timeout_seconds=timeout_seconds,
            mutation=True,
            member=member,
        )

    async def members(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[MemberStatus, ...]:
        self._connections.require_open()
        names = self._connections.endpoints
        answers = await asyncio.gather(
            *(self._status(name, timeout_seconds) for name in names), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        return tuple(answer for answer in answers if isinstance(answer, MemberStatus))

    async def alarms(
        self, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> tuple[Alarm, ...]:
        response = await self._connections.call(
            wire.ALARM,
            wire.AlarmRequest(action=wire.ALARM_GET),
            timeout_seconds=timeout_seconds,
            quorum=False,
        )
        return tuple(
            Alarm(member.memberID, wire.ALARM_NAMES[member.alarm]) for member in response.alarms
        )

    async def disarm(
        self, alarm: Alarm, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        if alarm.name not in wire.ALARM_NAMES:
            raise Invalid(f"etcd has no alarm {alarm.name!r}")
        request = wire.AlarmRequest(
            action=wire.ALARM_DEACTIVATE,
            memberID=alarm.member_id,
            alarm=wire.ALARM_NAMES.index(alarm.name),
        )
        await self._connections.call(
            wire.ALARM, request, timeout_seconds=timeout_seconds, mutation=True, quorum=False
        )

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        """`endpoint` as it was given to the constructor. The member serves nobody meanwhile."""
        await self._connections.call(
            wire.DEFRAGMENT,
            wire.DefragmentRequest(),
            timeout_seconds=timeout_seconds,
            mutation=True,
            quorum=False,
            member=endpoint,
        )

    async def snapshot(self, *, timeout_seconds: float = 600.0) -> AsyncGenerator[bytes, None]:
        """The database file of the current member, in pieces, with its SHA-256 at the end."""
        messages = self._connections.server_stream(
            wire.SNAPSHOT, wire.SnapshotRequest(), timeout_seconds=timeout_seconds
        )
        async with aclosing(messages):
            async for message in messages:
                yield message.blob

    async def close(self) -> None:
        await self._connections.close()

    async def _status(self, name: str, timeout_seconds: float) -> MemberStatus:
        response = await self._connections.call(
            wire.STATUS,
            wire.StatusRequest(),
            timeout_seconds=timeout_seconds,
            quorum=False,
            member=name,
        )
        return MemberStatus(
            endpoint=name,
            header=codec.header(response.header),
            version=response.version,
            leader_id=response.leader,
            db_size_bytes=response.dbSize,
            db_size_in_use_bytes=response.dbSizeInUse,
            errors=tuple(response.errors),
            raft_index=response.raftIndex,
            raft_applied_index=response.raftAppliedIndex,
            is_learner=response.isLearner,
            quota_bytes=response.dbSizeQuota,
        )


def _is_serializable(txn: Txn) -> bool:
    """Whether a transaction of reads may be answered from the past, as etcd sees it."""
    return any(isinstance(op, RangeOp) and op.serializable for op in (*txn.success, *txn.failure))
