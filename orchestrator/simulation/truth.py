"""What the store really holds, and a fingerprint of it at each revision."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from orchestrator.model.cluster_state import ClusterState, Row
from orchestrator.model.keys import Keys
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.values import Event, KeyValue, RangeOp, prefix_end

NOTHING = 0
SPREAD = 0x9E3779B97F4A7C15
"""Any large odd number, so that neighbours differ in many bits."""


def print_of(key: str, mod_revision: int) -> int:
    """Of one key. Those of several are added; the sum does not depend on their order."""
    return (
        crc32(key.encode("utf-8", "surrogateescape")) << 32 | mod_revision
    ) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF


class Truth:
    """`state` is at the store's newest revision, always."""

    def __init__(self, store: MemoryCluster, keys: Keys) -> None:
        self.state = ClusterState(keys)
        self.restorations = 0
        self._store = store
        self._keys = keys
        self._sum = NOTHING
        self._sums: dict[int, int] = {}
        self._newest: dict[str, int] = {}
        store.observe(self._fold)

    def fingerprint(self, revision: int) -> int:
        """Of all keys as they were at that revision."""
        return self._sums.get(revision, NOTHING)

    def rows(self) -> tuple[KeyValue, ...]:
        root = self._keys.root
        return self._store.engine.range(RangeOp(root, prefix_end(root))).kvs

    def restored(self) -> None:
        """The store has gone back: take its rows for what there is."""
        self.restorations += 1
        rows, gone = self.rows(), set(self._newest)
        newest = self._store.engine.revision
        self._sums = {at: each for at, each in self._sums.items() if at <= newest}
        changes = [Event(kv) for kv in rows]
        gone -= {kv.key for kv in rows}
        changes += [Event(KeyValue(key, b"", 0, 0, 0), is_delete=True) for key in sorted(gone)]
        self._fold(newest, changes)

    def _fold(self, revision: int, events: Iterable[Event]) -> None:
        now = virtual_now()
        for event in events:
            kv = event.kv
            if before := self._newest.pop(kv.key, 0):
                self._sum -= print_of(kv.key, before)
            if event.is_delete:
                self.state.apply(kv.key, None, now)
                continue
            self._newest[kv.key] = kv.mod_revision
            self._sum += print_of(kv.key, kv.mod_revision)
            self.state.apply(kv.key, Row(kv.value, kv.create_revision, kv.mod_revision), now)
        self._sums[revision] = self._sum
        self.state.revision = revision
