"""Which member to talk to, and whether to believe it. No I/O: it is told what happened.

`Chooser` is sticky: it stays with a member while that one answers and moves on, by chance among
those that did not fail lately, when it does not. Chance keeps the clients of a dead member from
all going to the same next one.

`HistoryGuard` remembers how far the store had come and refuses answers from before that. Every
etcd that distributions ship can serve a stale "linearizable" read after a pause (etcd #20418),
and a member restored from a backup answers from its old state as if it were the present one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from store.errors import Invalid, Unavailable
from store.lineage import Mark, another_cluster, gone_back
from store.patience import Clock
from store.values import Header

SHUN_SECONDS = 10.0
"""For so long a member that failed is tried only when all others have failed as well."""

VERDICT_SECONDS = 5.0
"""Answers from the past from everybody for longer than this are no stale member, but a store
that was set back. An etcd member that was merely paused catches up within an election, 1 s."""

VERDICT_ANSWERS = 3


_HOST = r"\[[0-9a-f:.]+\]|[^\s:/@?#\[\]]+"
_ENDPOINT = re.compile(
    rf"((?P<scheme>https?)://)?(?P<target>({_HOST}):(?P<port>[0-9]{{1,5}}))/?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one member serves clients. `name` is how the user wrote it."""

    name: str
    target: str
    is_tls: bool


def parse_endpoint(text: str, *, has_tls: bool) -> Endpoint:
    """Parse "host:port" or "http(s)://host:port"; raises `Invalid`."""
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise Invalid(f"{text!r} is no etcd endpoint: write host:port or https://host:port")
    scheme, target = (match["scheme"] or "").lower(), match["target"]
    if scheme == "https" and not has_tls:
        raise Invalid(f"{text!r} is served with TLS: say which CA to trust")
    if scheme == "http" and has_tls:
        raise Invalid(f"{text!r} has no TLS, but certificates are configured: write https://")
    return Endpoint(text, target, has_tls)


class Chooser:
    def __init__(self, names: Sequence[str], clock: Clock, rng: random.Random) -> None:
        if not names:
            raise Invalid("at least one etcd endpoint must be given")
        self._names = tuple(dict.fromkeys(names))
        self._clock = clock
        self._rng = rng
        self._failed_at: dict[str, float] = {}
        self.current = rng.choice(self._names)

    def answered(self, name: str) -> None:
        self._failed_at.pop(name, None)

    def failed(self, name: str) -> None:
        """`name` did not answer, or not as a healthy member would. Many calls may say so."""
        now = self._clock()
        self._failed_at[name] = now
        if name != self.current:
            return
        others = [other for other in self._names if other != name]
        fresh = [other for other in others if not self._is_shunned(other, now)]
        if fresh:
            self.current = self._rng.choice(fresh)
        elif others:
            self.current = min(others, key=self._failed_at.__getitem__)

    def _is_shunned(self, name: str, now: float) -> bool:
        failed_at = self._failed_at.get(name)
        return failed_at is not None and now - failed_at < SHUN_SECONDS


class HistoryGuard:
    """Note the `mark` before a request is sent, and `check` its answer against it.

    A message of etcd's with the same fields will do for a `Header`, and is cheaper.

    Only answers that had a quorum behind them can be checked; from all others `learn`. The term
    is learnt from checked answers alone: a member that was cut off counts up terms of its own.
    """

    def __init__(self, clock: Clock) -> None:
        self.mark = Mark()
        self.stale_answers = 0
        """How many answers came from before what was known already."""
        self._clock = clock
        self._cluster_id = 0
        self._behind_since = 0.0
        self._behind_answers = 0

    def learn(self, name: str, header: Header) -> None:
        """Take note of a revision. Raises `StoreReplaced` if it is another cluster's."""
        self._check_cluster(name, header.cluster_id)
        if header.revision > self.mark.revision:
            self.mark = Mark(header.revision, self.mark.raft_term)

    def check(self, name: str, header: Header, asked: Mark) -> None:
        """Raises `Unavailable` for an answer older than `asked`, what was known on asking.

        Raises `StoreReplaced` when all answers have been so for a while.
        """
        self._check_cluster(name, header.cluster_id)
        if asked.is_ahead_of(header):
            self._judge(name, header, asked)
        self._behind_answers = 0
        self.mark = self.mark.moved_to(header)

    def _judge(self, name: str, header: Header, asked: Mark) -> None:
        """Returns only when all members agree on a lower term: then the high one was counted by
        one member alone, and is forgotten."""
        self.stale_answers += 1
        self._behind_answers += 1
        now = self._clock()
        if self._behind_answers == 1:
            self._behind_since = now
        story = asked.story(name, header)
        if now - self._behind_since < VERDICT_SECONDS or self._behind_answers < VERDICT_ANSWERS:
            raise Unavailable(f"{story}: the member is behind")
        if header.revision < asked.revision:
            raise gone_back(story)
        self.mark = Mark(self.mark.revision, header.raft_term)

    def _check_cluster(self, name: str, cluster_id: int) -> None:
        if self._cluster_id == 0:
            self._cluster_id = cluster_id
        elif cluster_id not in {0, self._cluster_id}:
            raise another_cluster(name, cluster_id, self._cluster_id)
