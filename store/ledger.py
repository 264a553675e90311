"""What a mirror knows: the version of every key at one revision, and which messages to believe.

Pure bookkeeping: `Ledger` takes in listings and whole watch responses and says what has changed.
It keeps no values, so that whoever folds the changes is the only one to hold them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from store.values import Event, Header, KeyValue, WatchResponse


class Anomaly(StrEnum):
    """What a mirror counts. The first two happen in the best of clusters."""

    FRAGMENTS_REASSEMBLED = "fragments_reassembled"
    WATCH_ERROR = "watch_error"
    """The watch or a listing broke, and was begun again."""

    COMPACTED = "compacted"
    """We were away for longer than history is kept."""

    RELIST = "relist"
    SILENCE = "silence"
    """Not even a progress notification for too long; the watch was given up."""

    DUPLICATE_EVENT = "duplicate_event"
    OLD_EVENT = "old_event"
    """An event from before our position that we have not seen: something was kept from us."""

    GAP = "gap"
    """An event that does not follow from what is known: something was kept from us."""

    REVISION_WENT_BACK = "revision_went_back"
    CLUSTER_CHANGED = "cluster_changed"


class Version(NamedTuple):
    create_revision: int
    mod_revision: int


class Change(NamedTuple):
    """`key` is now `kv`; None: it is gone."""

    key: str
    kv: KeyValue | None


@dataclass(frozen=True, slots=True)
class Batch:
    """The step to the exact state at `revision`: all changes since the last batch, in order.

    A batch may span several revisions, but never holds a part of one. `is_reset`: the changes
    were found by listing. They are then the difference to what was delivered before, deletes
    included and first, so that a sink treats them like any others; only who needs every
    intermediate change must know that some may have been skipped.
    """

    revision: int
    changes: tuple[Change, ...]
    is_reset: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys of a prefix at `header.revision`."""

    header: Header
    kvs: tuple[KeyValue, ...]


class Ledger:
    """`versions` is exact at `revision`, unless `needs_listing` says that it may not be."""

    def __init__(self) -> None:
        self.versions: dict[str, Version] = {}
        self.revision = 0
        self.needs_listing = True
        self.anomalies: Counter[Anomaly] = Counter()

    def fold(self, response: WatchResponse) -> Batch | None:
        """Take in one whole response; None when it brings no change.

        Without events it is a progress notification: nothing but the position moves. With
        events the position moves to the last of them, not to the header's revision, which may
        be ahead of what this watch has been sent.
        """
        if not response.events:
            self.revision = max(self.revision, response.header.revision)
            return None
        changes = self._fold_events(response.events)
        return Batch(self.revision, tuple(changes), is_reset=False) if changes else None

    def fold_listing(self, listing: Listing) -> Batch:
        """Become what `listing` says."""
        known = self.versions
        fresh = {kv.key: Version(kv.create_revision, kv.mod_revision) for kv in listing.kvs}
        changes = [Change(key, None) for key in known if key not in fresh]
        changes += [Change(kv.key, kv) for kv in listing.kvs if known.get(kv.key) != fresh[kv.key]]
        self.versions = fresh
        self.revision = listing.header.revision
        self.needs_listing = False
        return Batch(self.revision, tuple(changes), is_reset=True)

    def _fold_events(self, events: tuple[Event, ...]) -> list[Change]:
        """The hot path: some 40,000 times a second while a mirror catches up."""
        versions = self.versions
        changes: list[Change] = []
        lowest = self.revision + 1
        for event in events:
            kv = event.kv
            key, mod_revision = kv.key, kv.mod_revision
            known = versions.get(key)
            if mod_revision < lowest or (known is not None and mod_revision <= known[1]):
                self._count_stale(event, known)
                continue
            lowest = mod_revision
            if event.is_delete:
                if versions.pop(key, None) is None:
                    self._doubt(Anomaly.GAP)
                else:
                    changes.append(Change(key, None))
                continue
            if kv.create_revision != (mod_revision if known is None else known[0]):
                self._doubt(Anomaly.GAP)
            versions[key] = Version(kv.create_revision, mod_revision)
            changes.append(Change(key, kv))
        if changes:
            self.revision = lowest
        return changes

    def _count_stale(self, event: Event, known: Version | None) -> None:
        """An event from before our position is harmless if we know what it says, or newer."""
        if event.is_delete if known is None else event.kv.mod_revision <= known.mod_revision:
            self.anomalies[Anomaly.DUPLICATE_EVENT] += 1
        else:
            self._doubt(Anomaly.OLD_EVENT)

    def _doubt(self, anomaly: Anomaly) -> None:
        self.anomalies[anomaly] += 1
        self.needs_listing = True
