"""etcd's key-value model in memory: multi-version, transactional, leased. Pure and synchronous.

It knows no clients, no waiting and no faults: time comes in as an argument, and a request is
answered or refused at once. The one thing it tells unasked is what was committed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from store.errors import Compacted, FutureRevision, LeaseNotFound
from store.memory.checks import check_key, check_txn
from store.memory.compares import holds
from store.memory.keyspace import VERSION_OVERHEAD_BYTES, KeySpace, encoded
from store.memory.leases import Leases
from store.memory.quota import Quota, cost_of
from store.values import (
    DeleteOp,
    DeleteResult,
    Event,
    Header,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseTimeToLive,
    Op,
    OpResult,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    Txn,
    TxnResult,
)

FIRST_REVISION = 1
"""An empty store is at revision 1; the first write makes 2."""

_PUT_RESULT = PutResult()

_KEPT = (
    *("cluster_id", "member_id", "raft_term", "first_revision", "revision"),
    *("compacted", "quota", "leases", "_keys", "_log"),
)
"""What a backup holds: all but the listener."""


def _ignore(_revision: int, _events: tuple[Event, ...]) -> None:
    pass


class Engine:
    """One store. `on_commit(revision, events)` is told of every revision, in order."""

    def __init__(self, *, quota_bytes: int = 2**31, first_revision: int = FIRST_REVISION) -> None:
        self.cluster_id = 1
        self.member_id = 1
        self.raft_term = 2
        self.first_revision = self.revision = first_revision
        self.compacted = -1
        self.quota = Quota(self.member_id, quota_bytes)
        self.leases = Leases()
        self.on_commit: Callable[[int, tuple[Event, ...]], None] = _ignore
        self._keys = KeySpace()
        self._log: dict[int, tuple[Event, ...]] = {}

    @property
    def used_bytes(self) -> int:
        return self._keys.used_bytes

    def header(self) -> Header:
        return self._header(self.revision)

    def range(self, op: RangeOp, *, as_of: int | None = None) -> RangeResult:
        """`as_of`: answer as a store would that has only come to that revision.

        Raises `Compacted`, `FutureRevision`, `Invalid`.
        """
        check_key(op.key)
        now = self.revision if as_of is None else as_of
        self._check_revision(op.revision, now)
        at = op.revision if op.revision > 0 else as_of
        return self._range(op, self._keys.select(op.key, op.range_end, at), now)

    def txn(self, txn: Txn) -> TxnResult:
        """Raises `Invalid`, `NoSpace`, `LeaseNotFound`, `Compacted`, `FutureRevision`."""
        check_txn(txn)
        cost = cost_of(txn)
        if cost:
            self.quota.check_before(cost)
        newest = self._keys.newest
        succeeded = all(holds(compare, newest(compare.key)) for compare in txn.compares)
        ops = txn.success if succeeded else txn.failure
        self._check_ops(ops)
        events: list[Event] = []
        results = [self._execute(op, events) for op in ops]
        self._commit(events)
        if cost:
            self.quota.check_after()
        header = self.header()
        if events:
            results = [_with_header(result, header) for result in results]
        return TxnResult(header, succeeded, tuple(results))

    def compact(self, revision: int) -> None:
        """Forget what was before `revision`. Raises `Compacted`, `FutureRevision`."""
        if revision <= self.compacted:
            raise Compacted(f"revision {revision} is compacted already")
        if revision > self.revision:
            raise FutureRevision(f"revision {revision} is not there yet: now {self.revision}")
        for past in range(self.compacted, revision + 1):
            events = self._log.get(past, ())
            self._keys.compact((event.kv.key for event in events), revision)
            if past < revision:
                self._log.pop(past, None)
        self.compacted = revision

    def events_since(self, revision: int) -> Iterator[tuple[int, tuple[Event, ...]]]:
        """Every revision from `revision` to now, with its events. Raises `Compacted`."""
        if revision < self.compacted:
            raise Compacted(f"revision {revision} is compacted")
        for past in range(max(revision, self.first_revision + 1), self.revision + 1):
            yield past, self._log[past]

    def grant(self, lease_id: int, ttl_seconds: int, now: float) -> LeaseGrant:
        """Raises `LeaseExists`, `NoSpace`, `Invalid`."""
        self.quota.check_before(VERSION_OVERHEAD_BYTES)
        lease = self.leases.grant(lease_id, ttl_seconds, now)
        return LeaseGrant(lease.lease_id, lease.ttl_seconds)

    def revoke(self, lease_id: int) -> None:
        """End a lease and delete its keys, in one revision. Raises `LeaseNotFound`."""
        lease = self.leases.remove(lease_id)
        events: list[Event] = []
        for key in sorted(lease.keys, key=encoded):
            self._delete(key, events)
        self._commit(events)

    def expire(self, now: float, limit: int) -> int:
        """Revoke up to `limit` leases that expired by `now`, each by itself; how many it was."""
        for count in range(limit):
            lease_id = self.leases.first_expired(now)
            if lease_id is None:
                return count
            self.revoke(lease_id)
        return limit

    def keep_alive(self, lease_id: int, now: float) -> LeaseKeepAlive:
        return LeaseKeepAlive(lease_id, self.leases.renew(lease_id, now))

    def time_to_live(self, lease_id: int, now: float, *, keys: bool) -> LeaseTimeToLive:
        lease = self.leases.find(lease_id)
        if lease is None:
            return LeaseTimeToLive(lease_id, -1, 0)
        left = int(lease.expires_at - now)
        return LeaseTimeToLive(
            lease_id, left, lease.ttl_seconds, tuple(sorted(lease.keys)) if keys else ()
        )

    def defragment(self) -> None:
        """Give back what compaction has freed; until then it counts against the quota."""
        self.quota.size_bytes = self._keys.used_bytes

    def dump(self) -> bytes:
        """The whole store, as a backup."""
        return pickle.dumps({name: getattr(self, name) for name in _KEPT})

    @classmethod
    def load(cls, backup: bytes) -> Engine:
        engine = cls()
        state: dict[str, Any] = pickle.loads(backup)
        for name in _KEPT:
            setattr(engine, name, state[name])
        return engine

    def _header(self, revision: int) -> Header:
        return Header(self.cluster_id, self.member_id, revision, self.raft_term)

    def _check_revision(self, revision: int, now: int) -> None:
        if revision > now:
            raise FutureRevision(f"revision {revision} is not there yet: now {now}")
        if 0 < revision < self.compacted:
            raise Compacted(f"revision {revision} is compacted")

    def _check_ops(self, ops: tuple[Op, ...]) -> None:
        """Before anything is changed, as a transaction has no way back: puts first, like etcd."""
        for op in ops:
            if isinstance(op, PutOp) and op.lease and not self.leases.find(op.lease):
                raise LeaseNotFound(f"there is no lease {op.lease} to put {op.key!r} on")
        for op in ops:
            if isinstance(op, RangeOp) and op.revision:
                self._check_revision(op.revision, self.revision)

    def _execute(self, op: Op, events: list[Event]) -> OpResult:
        if isinstance(op, PutOp):
            self._put(op, events)
            return _PUT_RESULT
        if isinstance(op, DeleteOp):
            kvs = self._keys.select(op.key, op.range_end)
            for kv in kvs:
                self._delete(kv.key, events)
            return DeleteResult(len(kvs))
        at = op.revision if op.revision > 0 else None
        return self._range(op, self._keys.select(op.key, op.range_end, at), self.revision)

    def _range(self, op: RangeOp, kvs: list[KeyValue], now: int) -> RangeResult:
        count = len(kvs)
        header = self._header(now)
        if op.count_only:
            return RangeResult(header, (), False, count)
        more = 0 < op.limit < count
        if more:
            del kvs[op.limit :]
        if op.keys_only:
            kvs = [_without_value(kv) for kv in kvs]
        return RangeResult(header, tuple(kvs), more, count)

    def _put(self, op: PutOp, events: list[Event]) -> None:
        revision = self.revision + 1
        old = self._keys.newest(op.key)
        created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
        kv = KeyValue(op.key, op.value, created, revision, version, op.lease)
        old_lease = old.lease if old else 0
        if old_lease != op.lease:
            if old_lease:
                self.leases.detach(old_lease, op.key)
            if op.lease:
                self.leases.attach(op.lease, op.key)
        self._keys.record(op.key, revision, kv)
        events.append(Event(kv))

    def _delete(self, key: str, events: list[Event]) -> None:
        revision = self.revision + 1
        old = self._keys.newest(key)
        if old and old.lease:
            self.leases.detach(old.lease, key)
        self._keys.record(key, revision, None)
        events.append(Event(KeyValue(key, b"", 0, revision, 0), is_delete=True))

    def _commit(self, events: list[Event]) -> None:
        if not events:
            return
        self.revision += 1
        self.quota.grow(self._keys.used_bytes)
        self._log[self.revision] = committed = tuple(events)
        self.on_commit(self.revision, committed)


def _without_value(kv: KeyValue) -> KeyValue:
    return KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def _with_header(result: OpResult, header: Header) -> OpResult:
    """A transaction's ranges carry the header of the whole."""
    return replace(result, header=header) if isinstance(result, RangeResult) else result
