"""Leases: who holds which keys until when. Knows no key-value; the engine deletes the keys."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf

from store.errors import Invalid, LeaseExists, LeaseNotFound

MIN_TTL_SECONDS = 2
"""etcd's floor at default timing: one and a half election timeouts, rounded up."""

MAX_TTL_SECONDS = 9_000_000_000


class Lease:
    __slots__ = ("expires_at", "keys", "lease_id", "ttl_seconds")

    def __init__(self, lease_id: int, ttl_seconds: int, expires_at: float) -> None:
        self.lease_id = lease_id
        self.ttl_seconds = ttl_seconds
        self.expires_at = expires_at
        self.keys: dict[str, None] = {}
        """An ordered set: what is iterated must come in the same order in every run."""


class Leases:
    """The live leases, and a queue of when each may expire.

    A renewal only moves `expires_at`; its entry in the queue is put right when it comes up.
    """

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        self._queue: list[tuple[float, int, Lease]] = []
        self._grants = 0

    def find(self, lease_id: int) -> Lease | None:
        return self._leases.get(lease_id)

    def get(self, lease_id: int) -> Lease:
        """Raises `LeaseNotFound`."""
        lease = self._leases.get(lease_id)
        if lease is None:
            raise LeaseNotFound(f"there is no lease {lease_id}: it has ended or never was")
        return lease

    def grant(self, lease_id: int, ttl_seconds: int, now: float) -> Lease:
        """A new lease of at least `MIN_TTL_SECONDS`; id 0 lets the store choose."""
        if ttl_seconds > MAX_TTL_SECONDS:
            raise Invalid(f"a lease cannot last {ttl_seconds} seconds")
        if lease_id in self._leases:
            raise LeaseExists(f"lease {lease_id} is there already")
        lease_id = lease_id or max(self._leases, default=0) + 1
        ttl = max(ttl_seconds, MIN_TTL_SECONDS)
        lease = self._leases[lease_id] = Lease(lease_id, ttl, now + ttl)
        self._grants += 1
        heappush(self._queue, (lease.expires_at, self._grants, lease))
        return lease

    def renew(self, lease_id: int, now: float) -> int:
        """The TTL granted anew, or 0 for a lease that has ended, though it be not yet revoked."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.expires_at <= now:
            return 0
        lease.expires_at = now + lease.ttl_seconds
        return lease.ttl_seconds

    def renew_all(self, now: float) -> None:
        """What a new raft leader does: nobody's lease is shorter than a full TTL."""
        for lease in self._leases.values():
            lease.expires_at = now + lease.ttl_seconds

    def remove(self, lease_id: int) -> Lease:
        """Raises `LeaseNotFound`."""
        lease = self.get(lease_id)
        del self._leases[lease_id]
        return lease

    def next_expiry(self) -> float:
        """When the first lease expires; infinity without leases."""
        while self._queue:
            due, number, lease = self._queue[0]
            is_live = self._leases.get(lease.lease_id) is lease
            if is_live and lease.expires_at == due:
                return due
            heappop(self._queue)
            if is_live:
                heappush(self._queue, (lease.expires_at, number, lease))
        return inf

    def first_expired(self, now: float) -> int | None:
        """The id of the lease that expired first by `now`, or None."""
        return self._queue[0][2].lease_id if self.next_expiry() <= now else None

    def attach(self, lease_id: int, key: str) -> None:
        self._leases[lease_id].keys[key] = None

    def detach(self, lease_id: int, key: str) -> None:
        lease = self._leases.get(lease_id)
        if lease:
            lease.keys.pop(key, None)
