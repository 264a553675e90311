"""Which watches cover a key, without asking every watch."""

from __future__ import annotations

from operator import attrgetter

from store.memory.keyspace import encoded
from store.memory.watch import MemoryWatch
from store.values import prefix_end


class Routes:
    """Nearly all watches are of one key or of a prefix; these are found by the key's own bytes.

    Hundreds of nodes watch each their own prefix, and every change would have to ask them all.
    """

    def __init__(self) -> None:
        self._by_key: dict[bytes, list[MemoryWatch]] = {}
        self._by_prefix: dict[bytes, list[MemoryWatch]] = {}
        self._prefix_lengths: dict[int, int] = {}
        """How many watched prefixes have that length."""
        self._others: list[MemoryWatch] = []

    def add(self, watch: MemoryWatch) -> None:
        name = encoded(watch.key)
        if watch.range_end is None:
            self._by_key.setdefault(name, []).append(watch)
        elif watch.range_end == prefix_end(watch.key):
            self._by_prefix.setdefault(name, []).append(watch)
            self._prefix_lengths[len(name)] = self._prefix_lengths.get(len(name), 0) + 1
        else:
            self._others.append(watch)

    def remove(self, watch: MemoryWatch) -> None:
        name = encoded(watch.key)
        if watch.range_end is None:
            _take(self._by_key, name, watch)
        elif watch.range_end == prefix_end(watch.key):
            _take(self._by_prefix, name, watch)
            self._prefix_lengths[len(name)] -= 1
            if not self._prefix_lengths[len(name)]:
                del self._prefix_lengths[len(name)]
        else:
            self._others.remove(watch)

    def covering(self, key: str) -> list[MemoryWatch]:
        """In the order in which they were opened."""
        name = encoded(key)
        found = list(self._by_key.get(name, ()))
        for length in self._prefix_lengths:
            if length <= len(name):
                found += self._by_prefix.get(name[:length], ())
        found += [watch for watch in self._others if watch.covers(name)]
        found.sort(key=attrgetter("number"))
        return found


def _take(watches: dict[bytes, list[MemoryWatch]], name: bytes, watch: MemoryWatch) -> None:
    watches[name].remove(watch)
    if not watches[name]:
        del watches[name]
