"""Every version of every key: what each key was at any revision that is not compacted."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from store.values import KeyValue

VERSION_OVERHEAD_BYTES = 64
"""What a version costs beside its key and value: about what etcd's bbolt pages take."""


def encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def interval(key: str, range_end: str | None) -> tuple[bytes, bytes | None]:
    """`[low, high)` in bytes, the order in which etcd sorts; `None` is the end of the key space.

    Strings would not do: their order differs from etcd's for foreign bytes.
    """
    low = encoded(key)
    if not range_end:
        return low, low + b"\0"
    return low, None if range_end == "\0" else encoded(range_end)


class Versions:
    """One key through time. A deletion is a version whose value is `None`."""

    __slots__ = ("key", "kvs", "revisions")

    def __init__(self, key: str) -> None:
        self.key = key
        self.revisions: list[int] = []
        self.kvs: list[KeyValue | None] = []

    def at(self, revision: int) -> KeyValue | None:
        if self.revisions[-1] <= revision:
            return self.kvs[-1]
        index = bisect_right(self.revisions, revision)
        return self.kvs[index - 1] if index else None

    def size_bytes(self, upto: int) -> int:
        """What the oldest `upto` versions take."""
        each = VERSION_OVERHEAD_BYTES + len(self.key)
        return sum(each + (len(kv.value) if kv else 0) for kv in self.kvs[:upto])


class KeySpace:
    """All keys in byte order, each with its versions."""

    def __init__(self) -> None:
        self.used_bytes = 0
        self._versions: dict[str, Versions] = {}
        self._order: list[bytes] = []
        self._ordered: list[Versions] = []

    def newest(self, key: str) -> KeyValue | None:
        versions = self._versions.get(key)
        return versions.kvs[-1] if versions else None

    def select(
        self, key: str, range_end: str | None, revision: int | None = None
    ) -> list[KeyValue]:
        """The keys of the range that are there at `revision` (None: now), in byte order."""
        if not range_end:
            one = self._versions.get(key)
            found: Iterable[Versions] = (one,) if one else ()
        else:
            low, high = interval(key, range_end)
            start = bisect_left(self._order, low)
            stop = len(self._order) if high is None else bisect_left(self._order, high)
            found = self._ordered[start:stop]
        if revision is None:
            return [kv for versions in found if (kv := versions.kvs[-1])]
        return [kv for versions in found if (kv := versions.at(revision))]

    def record(self, key: str, revision: int, kv: KeyValue | None) -> None:
        """`key` becomes `kv` (None: deleted) at `revision`, which is its newest."""
        versions = self._versions.get(key)
        if versions is None:
            versions = self._insert(key)
        versions.revisions.append(revision)
        versions.kvs.append(kv)
        self.used_bytes += VERSION_OVERHEAD_BYTES + len(key) + (len(kv.value) if kv else 0)

    def compact(self, keys: Iterable[str], revision: int) -> None:
        """Forget what the `keys` were before `revision`, and those that are gone by then."""
        for key in keys:
            versions = self._versions.get(key)
            if versions is None:
                continue
            stale = bisect_right(versions.revisions, revision) - 1
            if stale >= 0 and versions.kvs[stale] is None:
                stale += 1
            if stale <= 0:
                continue
            self.used_bytes -= versions.size_bytes(stale)
            del versions.revisions[:stale], versions.kvs[:stale]
            if not versions.kvs:
                self._remove(key)

    def _insert(self, key: str) -> Versions:
        versions = self._versions[key] = Versions(key)
        name = encoded(key)
        index = bisect_left(self._order, name)
        self._order.insert(index, name)
        self._ordered.insert(index, versions)
        return versions

    def _remove(self, key: str) -> None:
        del self._versions[key]
        index = bisect_left(self._order, encoded(key))
        del self._order[index], self._ordered[index]
