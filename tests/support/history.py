"""What a store's whole history must show, whoever wrote it: pure functions over its entries.

A history is every change of every key, in order, from the first revision on. Who judges it needs
nothing else: a put says in its stamp (`store.stamps.stamped`) which revision of its object
it was computed from, under which epoch and in which transaction. Each function returns the
violations that it finds, none being well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from store.stamps import stamp_of
from store.values import Event


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `value` None: deleted. `previous`: the key's `mod_revision` before; 0: absent."""

    revision: int
    key: str
    value: bytes | None
    previous: int

    @property
    def stamp(self) -> dict[str, Any]:
        return stamp_of(self.value) if self.value is not None else {}


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

    def record(self, revision: int, events: Iterable[Event]) -> None:
        for event in events:
            key = event.kv.key
            value = None if event.is_delete else event.kv.value
            self.entries.append(Entry(revision, key, value, self._newest.get(key, 0)))
            self._newest[key] = 0 if event.is_delete else revision


def gaps(entries: Sequence[Entry]) -> list[Violation]:
    """Every revision is there: etcd counts without holes, so a hole is a change that was missed."""
    return [
        Violation(after.revision, after.key, f"nothing is known since {before.revision}")
        for before, after in pairwise(entries)
        if not before.revision <= after.revision <= before.revision + 1
    ]


def blind_overwrites(entries: Iterable[Entry]) -> list[Violation]:
    """Every stamped put was computed from exactly what it replaced: a chain for each key."""
    return [
        Violation(entry.revision, entry.key, f"computed from {base}, but replaced {entry.previous}")
        for entry in entries
        if (base := entry.stamp.get("base", entry.previous)) != entry.previous
    ]


def unfenced_writes(
    entries: Iterable[Entry], fence_of: Callable[[str], str | None]
) -> list[Violation]:
    """Every put of a key that `fence_of` gives a fence carries that fence's epoch.

    That is the `create_revision` under which the fence's key was there just before; a put while
    nobody held it is as wrong as one by yesterday's holder.
    """
    found: list[Violation] = []
    for entry, created in _with_state_before(entries):
        fence = fence_of(entry.key)
        if fence is None or entry.value is None:
            continue
        epoch, holder = entry.stamp.get("epoch"), created.get(fence)
        if epoch is None or epoch != holder:
            says = f"written under epoch {epoch}, but {fence} was at {holder}"
            found.append(Violation(entry.revision, entry.key, says))
    return found


def executions(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """For each operation id, the revisions at which it was carried out."""
    revisions: defaultdict[str, list[int]] = defaultdict(list)
    for entry in entries:
        op = entry.stamp.get("op")
        if op and entry.revision not in revisions[op]:
            revisions[op].append(entry.revision)
    return dict(revisions)


def repeated_operations(entries: Sequence[Entry]) -> list[Violation]:
    """No transaction was carried out twice."""
    times = executions(entries)
    return [
        Violation(entry.revision, entry.key, f"{op} was carried out at {times[op]}")
        for entry in entries
        if (op := entry.stamp.get("op")) and entry.revision in times[op][1:]
    ]


def _with_state_before(
    entries: Iterable[Entry],
) -> Iterator[tuple[Entry, Mapping[str, int]]]:
    """Each entry with the `create_revision` of every key just before that entry's revision."""
    created: dict[str, int] = {}
    for revision, changes in groupby(entries, lambda entry: entry.revision):
        together = list(changes)
        for entry in together:
            yield entry, created
        for entry in together:
            if entry.value is None:
                created.pop(entry.key, None)
            elif not entry.previous:
                created[entry.key] = revision
