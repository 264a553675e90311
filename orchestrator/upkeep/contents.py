"""What a store holds at one revision, as a digest that two stores can be compared by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from store.protocol import Store
from store.values import KeyValue, RangeOp

PAGE_SIZE = 1000
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Contents:
    """`sha256` is of all keys with their values and revisions, in order."""

    revision: int
    keys: int
    sha256: str


async def contents_of(store: Store, revision: int = 0) -> Contents:
    """Read every key as it was at `revision`; 0 is the newest.

    Raises `Compacted` when that is history already, and `FutureRevision` when it is not there.
    """
    digest = hashlib.sha256()
    keys, following, more = 0, "\0", True
    while more:
        op = RangeOp(following, "\0", limit=PAGE_SIZE, revision=revision)
        page = await store.range(op, timeout_seconds=TIMEOUT_SECONDS)
        revision = revision or page.header.revision
        for kv in page.kvs:
            _add(digest, kv)
        keys += len(page.kvs)
        more = page.more
        following = page.kvs[-1].key + "\0" if page.kvs else ""
    return Contents(revision, keys, digest.hexdigest())


def _add(digest: hashlib._Hash, kv: KeyValue) -> None:
    key = kv.key.encode("utf-8", "surrogateescape")
    numbers = (len(key), len(kv.value), kv.create_revision, kv.mod_revision, kv.version, kv.lease)
    digest.update(repr(numbers).encode())
    digest.update(key)
    digest.update(kv.value)
