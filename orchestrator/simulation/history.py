"""What a store's whole history must show, whoever wrote it.

A history is every change of every key, in order, from the first revision on. Who judges it needs
nothing else: a put says in its stamp (`store.stamps.stamped`) which revision of its object
it was computed from, under which epoch and in which transaction. A `Check` is fed one revision
after the other, and says at once what is wrong with it; each function feeds one with a whole
history. No violation means that all is well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

from store.stamps import stamp_of
from store.values import Event

_stamp_of = lru_cache(64)(stamp_of)
"""Each check asks for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `value` None: deleted. `previous`: the key's `mod_revision` before; 0: absent."""

    revision: int
    key: str
    value: bytes | None
    previous: int

    @property
    def stamp(self) -> dict[str, Any]:
        return _stamp_of(self.value) if self.value is not None else {}


@dataclass(frozen=True, slots=True)
class Violation:
    revision: int
    key: str
    says: str


class History:
    """Collects entries, from a store in memory (`MemoryCluster.observe`) or from a watch."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._newest: dict[str, int] = {}

    def record(self, revision: int, events: Iterable[Event]) -> list[Entry]:
        """The entries that `events` have become."""
        entries = []
        for event in events:
            key = event.kv.key
            value = None if event.is_delete else event.kv.value
            entries.append(Entry(revision, key, value, self._newest.get(key, 0)))
            self._newest[key] = 0 if event.is_delete else revision
        self.entries += entries
        return entries

    def forget(self, newest: dict[str, int]) -> None:
        """The store is another one now: what it has, and at which revisions."""
        self._newest = dict(newest)


class Check(Protocol):
    def feed(self, revision: int, entries: Sequence[Entry]) -> list[Violation]:
        """All changes of the next revision; what is wrong with them."""
        ...


class NoGaps:
    """Every revision is there: etcd counts without holes, so a hole is a change that was missed."""

    def __init__(self) -> None:
        self._last: int | None = None

    def feed(self, revision: int, entries: Sequence[Entry]) -> list[Violation]:
        last, self._last = self._last, revision
        if last is None or revision == last + 1:
            return []
        return [Violation(revision, entries[0].key, f"nothing is known since {last}")]


class Chain:
    """Every stamped put was computed from exactly what it replaced: a chain for each key."""

    def feed(self, revision: int, entries: Sequence[Entry]) -> list[Violation]:
        return [
            Violation(revision, entry.key, f"computed from {base}, but replaced {entry.previous}")
            for entry in entries
            if (base := entry.stamp.get("base", entry.previous)) != entry.previous
        ]


class Fencing:
    """Every put of a key that `fence_of` gives a fence carries that fence's epoch.

    That is the `create_revision` under which the fence's key was there just before; a put while
    nobody held it is as wrong as one by yesterday's holder.
    """

    def __init__(self, fence_of: Callable[[str], str | None]) -> None:
        self._fence_of = fence_of
        self._created: dict[str, int] = {}

    def feed(self, revision: int, entries: Sequence[Entry]) -> list[Violation]:
        found = [wrong for entry in entries if (wrong := self._judged(entry))]
        for entry in entries:
            if entry.value is None:
                self._created.pop(entry.key, None)
            elif not entry.previous:
                self._created[entry.key] = revision
        return found

    def forget(self, created: dict[str, int]) -> None:
        """The store is another one now."""
        self._created = dict(created)

    def _judged(self, entry: Entry) -> Violation | None:
        fence = self._fence_of(entry.key)
        if fence is None or entry.value is None:
            return None
        epoch, holder = entry.stamp.get("epoch"), self._created.get(fence)
        if epoch is not None and epoch == holder:
            return None
        says = f"written under epoch {epoch}, but {fence} was at {holder}"
        return Violation(entry.revision, entry.key, says)


class Once:
    """No transaction was carried out twice."""

    def __init__(self) -> None:
        self.revisions: defaultdict[str, list[int]] = defaultdict(list)
        """For each operation id, those at which it was carried out."""

    def feed(self, revision: int, entries: Sequence[Entry]) -> list[Violation]:
        found = []
        for entry in entries:
            if not (op := entry.stamp.get("op")):
                continue
            times = self.revisions[op]
            if revision not in times:
                times.append(revision)
            if len(times) > 1:
                found.append(Violation(revision, entry.key, f"{op} was carried out at {times}"))
        return found


def fed(check: Check, entries: Iterable[Entry]) -> list[Violation]:
    """What `check` finds in a whole history."""
    return [
        violation
        for revision, changes in groupby(entries, lambda entry: entry.revision)
        for violation in check.feed(revision, list(changes))
    ]


def gaps(entries: Iterable[Entry]) -> list[Violation]:
    return fed(NoGaps(), entries)


def blind_overwrites(entries: Iterable[Entry]) -> list[Violation]:
    return fed(Chain(), entries)


def unfenced_writes(
    entries: Iterable[Entry], fence_of: Callable[[str], str | None]
) -> list[Violation]:
    return fed(Fencing(fence_of), entries)


def executions(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """For each operation id, the revisions at which it was carried out."""
    once = Once()
    fed(once, entries)
    return dict(once.revisions)


def repeated_operations(entries: Iterable[Entry]) -> list[Violation]:
    return fed(Once(), entries)
