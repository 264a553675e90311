"""Is this still the store that we have read? A restored or wiped one answers like any other."""

from __future__ import annotations

import asyncio
from collections import Counter

from store.errors import StoreReplaced
from store.ledger import Anomaly
from store.patience import Patience
from store.protocol import Store
from store.values import Header, RangeOp

PROBES = 3
"""A member that lags catches up within these; even a linearizable read may come from the past for
a moment (etcd #20418), so one answer alone proves nothing."""


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
        return header.revision < revision or header.raft_term < self._raft_term

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
            raise StoreReplaced(
                f"the store has gone back from revision {revision} (raft term {self._raft_term}) to"
                f" {header.revision} ({header.raft_term}): it was wiped or restored from a backup."
                " Restart this process, so that it reads everything anew"
            )

    def _require_same_cluster(self, header: Header) -> None:
        if self._cluster_id not in (None, header.cluster_id):
            self._anomalies[Anomaly.CLUSTER_CHANGED] += 1
            raise StoreReplaced(
                f"the endpoints now belong to cluster {header.cluster_id:x}, not to"
                f" {self._cluster_id:x}: the store was wiped or replaced. Restart this"
                " process, so that it reads everything anew"
            )
