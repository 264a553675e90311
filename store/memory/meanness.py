"""What can go wrong between a client and the store, as declared values. Off by default.

*By chance*: a `Meanness` says how often, and an injected rng draws. *By hand*: a test arranges
the `Trip` of a client's next write, pauses or cuts its link, or does things to the cluster.
Each fault was seen on real etcd, or is one that etcd's own bugs have caused.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from math import inf

Seconds = tuple[float, float]
"""Drawn evenly between the two."""


@dataclass(frozen=True, slots=True)
class Trip:
    """How one request fares: it arrives after `request_seconds`, its answer `reply_seconds` later.

    Infinity is never. The client learns nothing more after `cut_seconds`, or its own timeout.
    """

    request_seconds: float = 0.0
    reply_seconds: float = 0.0
    cut_seconds: float = inf
    is_refused: bool = False


REFUSED = Trip(is_refused=True)
LOST_REQUEST = Trip(request_seconds=inf, cut_seconds=0.0)
LOST_REPLY = Trip(reply_seconds=inf, cut_seconds=0.0)


def late(seconds: float) -> Trip:
    """The client gives up at once; the request is carried out `seconds` later all the same."""
    return Trip(request_seconds=seconds, cut_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Meanness:
    """How often, by chance, and how badly. Fractions are of requests or of watch responses."""

    request_seconds: Seconds = (0.0, 0.0)
    reply_seconds: Seconds = (0.0, 0.0)
    refused: float = 0.0
    lost_request: float = 0.0
    lost_reply: float = 0.0
    late_commit: float = 0.0
    late_seconds: Seconds = (0.0, 10.0)
    cut_seconds: Seconds = (0.0, 0.0)
    """After how long the client learns that its connection broke, when an answer is lost."""

    stale_read: float = 0.0
    stale_revisions: int = 20
    lease_lost: float = 0.0
    """Of renewals: the lease is revoked instead."""

    watch_seconds: Seconds = (0.0, 0.0)
    watch_repeated: float = 0.0
    """Of responses: an older one (or the same) is sent again after it."""
    watch_broken: float = 0.0
    watch_compacted: float = 0.0
    """Of responses: everything is compacted first, as if the watch had lagged too far behind."""
    watch_buffer: int = 128
    """Responses held for a stalled client; what comes later it must catch up with from history."""
    fragment_events: int = 0
    """A response with more events than this is split; 0: never."""


CALM = Meanness()


class Luck:
    """Draws what happens next, as `meanness` says. Draws nothing for what is switched off."""

    def __init__(self, meanness: Meanness, rng: random.Random) -> None:
        self.meanness = meanness
        self._rng = rng
        self._arranged: deque[Trip] = deque()

    def arrange(self, *trips: Trip) -> None:
        """The next writes fare so, in this order, whatever chance would say."""
        self._arranged.extend(trips)

    def happens(self, fraction: float) -> bool:
        return fraction > 0.0 and self._rng.random() < fraction

    def seconds(self, bounds: Seconds) -> float:
        low, high = bounds
        return self._rng.uniform(low, high) if high > 0.0 else 0.0

    def below(self, limit: int) -> int:
        return self._rng.randrange(limit)

    def trip(self, *, is_write: bool) -> Trip | None:
        """None: there and back without delay."""
        if is_write and self._arranged:
            return self._arranged.popleft()
        return None if self.meanness is CALM else self._drawn(is_write)

    def _drawn(self, is_write: bool) -> Trip:
        mean = self.meanness
        if self.happens(mean.refused):
            return REFUSED
        request, reply = self.seconds(mean.request_seconds), self.seconds(mean.reply_seconds)
        if self.happens(mean.lost_request):
            return Trip(inf, 0.0, self.seconds(mean.cut_seconds))
        if self.happens(mean.lost_reply):
            return Trip(request, inf, request + self.seconds(mean.cut_seconds))
        if is_write and self.happens(mean.late_commit):
            cut = self.seconds(mean.cut_seconds)
            return Trip(cut + self.seconds(mean.late_seconds), 0.0, cut)
        return Trip(request, reply)
