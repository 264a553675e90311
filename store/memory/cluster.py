"""One in-memory etcd cluster for many clients in one event loop, and the faults it can be given."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from math import inf

from store.errors import Unavailable
from store.memory.engine import FIRST_REVISION, Engine
from store.memory.hub import WatchHub
from store.memory.link import Link
from store.memory.meanness import CALM, Meanness
from store.memory.store import MemoryStore
from store.patience import Clock
from store.values import Event, MemberStatus

EXPIRY_BATCH = 500
EXPIRY_PAUSE_SECONDS = 0.5
"""etcd revokes at most that many expired leases, then waits that long."""

VERSION = "3.5.33"

Observer = Callable[[int, tuple[Event, ...]], object]


class MemoryCluster:
    """Make it and use it within one running event loop; leases run out by its timers.

    `clock` is what leases are measured with, in monotonic seconds, and `rng` the only source of
    chance. Two clusters driven alike by equal clocks and rngs do exactly the same.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random | None = None,
        *,
        meanness: Meanness = CALM,
        quota_bytes: int = 2**31,
        endpoints: tuple[str, ...] = ("memory:1",),
        version: str = VERSION,
        first_revision: int = FIRST_REVISION,
    ) -> None:
        self.clock = clock
        self.meanness = meanness
        self.endpoints = endpoints
        self.version = version
        self.engine = Engine(quota_bytes=quota_bytes, first_revision=first_revision)
        self.hub = WatchHub(self.engine)
        self._rng = rng or random.Random(0)
        self._context = Context()  # its timers are no client's: see `Link.context`
        self._links: dict[str, Link] = {}
        self._observers: list[Observer] = []
        self._expiry_at = inf
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._progress_timer: asyncio.TimerHandle | None = None
        self.engine.on_commit = self._committed

    def connect(self, client: str, *, meanness: Meanness | None = None) -> MemoryStore:
        """A store for `client`; all stores of one name share one link, and so its fate."""
        link = self._links.get(client)
        if link is None:
            link = self._links[client] = Link(client, meanness or self.meanness, self._rng)
        return MemoryStore(self, link)

    def link(self, client: str) -> Link:
        return self._links[client]

    def treat(self, meanness: Meanness, *clients: str) -> None:
        """From now on be so mean to these clients, or to all, those to come included."""
        if not clients:
            self.meanness = meanness
        for client in clients or tuple(self._links):
            self._links[client].luck.meanness = meanness

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every revision as it is committed, whatever the clients see."""
        self._observers.append(observer)

    def pause(self, client: str) -> None:
        self._links[client].pause()

    def cut(self, client: str) -> None:
        self._links[client].cut()

    def resume(self, client: str) -> None:
        self._links[client].resume()

    def break_watches(self, *clients: str) -> None:
        """The connections of their watches break; without names, of all."""
        for client in clients or tuple(self._links):
            for watch in list(self._links[client].watches):
                watch.break_off()

    def change_leader(self) -> None:
        """Another member leads: the raft term rises, and every lease gets its full TTL again."""
        self.engine.raft_term += 1
        self.engine.leases.renew_all(self.clock())

    def restore(self, backup: bytes) -> None:
        """Go back to what `Store.snapshot` gave, as a new cluster. Every watch breaks."""
        cluster_id = self.engine.cluster_id + 1
        self.engine.on_commit = _ignore  # a request that is under way may yet reach the old one
        self.engine = Engine.load(backup)
        self.engine.cluster_id = cluster_id
        self.engine.leases.renew_all(self.clock())
        self.engine.on_commit = self._committed
        self.hub.follow(self.engine)
        self.arm_expiry()

    def notify_progress_every(self, seconds: float) -> None:
        """etcd's --experimental-watch-progress-notify-interval; 0 ends it."""
        if self._progress_timer:
            self._progress_timer.cancel()
        if seconds > 0.0:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(
                seconds, self._notify_progress, seconds, context=self._context
            )

    def backup(self) -> bytes:
        return self.engine.dump()

    def members(self) -> tuple[MemberStatus, ...]:
        return tuple(self._status(endpoint) for endpoint in self.endpoints)

    def compact(self, revision: int, endpoint: str | None) -> None:
        if endpoint is not None:
            self._find(endpoint)
        self.engine.compact(revision)

    def defragment(self, endpoint: str) -> None:
        self._find(endpoint)
        self.engine.defragment()

    def _find(self, endpoint: str) -> None:
        if endpoint not in self.endpoints:
            raise Unavailable(f"no member answers at {endpoint}")

    def arm_expiry(self) -> None:
        """To be called whenever a lease may end sooner than every other did until now."""
        due = self.engine.leases.next_expiry()
        if due < self._expiry_at:
            self._set_expiry(due, due - self.clock())

    def _status(self, endpoint: str) -> MemberStatus:
        engine = self.engine
        return MemberStatus(
            endpoint=endpoint,
            header=engine.header(),
            version=self.version,
            leader_id=engine.member_id,
            db_size_bytes=engine.quota.size_bytes,
            db_size_in_use_bytes=engine.used_bytes,
            errors=tuple(f"memberID:{a.member_id} alarm:{a.name}" for a in engine.quota.alarms),
        )

    def _set_expiry(self, due: float, delay_seconds: float) -> None:
        if self._expiry_timer:
            self._expiry_timer.cancel()
        self._expiry_at = due
        if due < inf:
            loop = asyncio.get_running_loop()
            self._expiry_timer = loop.call_later(
                max(delay_seconds, 0.0), self._expire, context=self._context
            )

    def _expire(self) -> None:
        now = self.clock()
        self.engine.expire(now, EXPIRY_BATCH)
        due = self.engine.leases.next_expiry()
        self._set_expiry(due, due - now if due > now else EXPIRY_PAUSE_SECONDS)

    def _notify_progress(self, seconds: float) -> None:
        self.hub.notify_progress()
        self.notify_progress_every(seconds)

    def _committed(self, revision: int, events: tuple[Event, ...]) -> None:
        for observer in self._observers:
            observer(revision, events)
        self.hub.publish(revision, events)


def _ignore(_revision: int, _events: tuple[Event, ...]) -> None:
    pass
