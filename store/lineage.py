"""Is this still the store that we have read? A restored or wiped one answers like any other.

Two ask. `store.etcd.endpoints.HistoryGuard` does so of every answer: it may come from one member
that lags, and then another is asked. `Lineage` does so for the mirror, on any store, before it
follows a watch. What being behind means, and what is said in the end, is here for both.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from store.errors import StoreReplaced
from store.ledger import Anomaly
from store.patience import Patience
from store.protocol import Store
from store.values import Header, RangeOp

PROBES = 3
"""A member that lags catches up within these; even a linearizable read may come from the past for
a moment (etcd #20418), so one answer alone proves nothing."""


RESTART = "start this process again if that was intended, and it reads everything anew"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a store had surely come."""

    revision: int = 0
    raft_term: int = 0

    def is_ahead_of(self, header: Header) -> bool:
        return header.revision < self.revision or header.raft_term < self.raft_term

    def moved_to(self, header: Header) -> Mark:
        return Mark(max(self.revision, header.revision), max(self.raft_term, header.raft_term))

    def story(self, who: str, header: Header) -> str:
        """That `who` has answered from before."""
        return (
            f"{who} answers at revision {header.revision}, term {header.raft_term}, but the store"
            f" was at {self.revision}, {self.raft_term} before"
        )


def gone_back(story: str) -> StoreReplaced:
    return StoreReplaced(f"{story}: etcd was wiped or restored from a backup; {RESTART}")


def another_cluster(who: str, found: int, known: int) -> StoreReplaced:
    return StoreReplaced(
        f"{who} belongs to etcd cluster {found:x}, not {known:x}: etcd was wiped or restored from a"
        f" backup, or members of two clusters are named; {RESTART}"
    )


class Lineage:
    """Remembers the cluster and its highest raft term; `probe_key` is any key we may read.

    To be remembered are answers that a quorum stands behind: a member that is cut off counts up
    terms of its own.
    """

    def __init__(
        self, store: Store, probe_key: str, pauses: Patience, anomalies: Counter[Anomaly]
    ) -> None:
        self._store = store
        self._probe_key = probe_key
        self._pauses = pauses
        self._anomalies = anomalies
        self._cluster_id: int | None = None
        self._raft_term = 0

    def remember(self, header: Header) -> None:
        self._cluster_id = header.cluster_id
        self._raft_term = max(self._raft_term, header.raft_term)

    def is_behind(self, header: Header, revision: int) -> bool:
        """Whether who answered has not come as far as `revision`, or as our raft term."""
        return Mark(revision, self._raft_term).is_ahead_of(header)

    async def require_same(self, header: Header, revision: int) -> None:
        """Return once the store has come as far as we have; raise `StoreReplaced` if it never does.

        Errors of reading pass through.
        """
        for probe in range(1, PROBES + 1):
            self._require_same_cluster(header)
            if not self.is_behind(header, revision):
                return
            self._anomalies[Anomaly.REVISION_WENT_BACK] += 1
            await asyncio.sleep(self._pauses.wait_seconds(probe))
            header = (await self._store.range(RangeOp(self._probe_key, keys_only=True))).header
        if self.is_behind(header, revision):
            raise gone_back(Mark(revision, self._raft_term).story("the store", header))

    def _require_same_cluster(self, header: Header) -> None:
        if self._cluster_id is not None and self._cluster_id != header.cluster_id:
            self._anomalies[Anomaly.CLUSTER_CHANGED] += 1
            raise another_cluster("the store", header.cluster_id, self._cluster_id)
