"""Short words for tests that talk to a `Store`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from store.protocol import Store, Watch
from store.values import (
    Compare,
    DeleteOp,
    Event,
    KeyValue,
    Op,
    PutOp,
    RangeOp,
    Txn,
    TxnResult,
    WatchResponse,
    prefix_end,
)

LIMIT_SECONDS = 10.0


async def send(
    store: Store,
    *success: Op,
    compares: Sequence[Compare] = (),
    failure: Sequence[Op] = (),
) -> TxnResult:
    return await store.txn(Txn(tuple(compares), success, tuple(failure)))


async def put(store: Store, key: str, value: bytes = b"{}", lease: int = 0) -> int:
    """The revision of the put."""
    return (await send(store, PutOp(key, value, lease))).header.revision


async def delete(store: Store, key: str, range_end: str | None = None) -> int:
    """The revision after the delete."""
    return (await send(store, DeleteOp(key, range_end))).header.revision


async def get(store: Store, key: str, revision: int = 0) -> KeyValue | None:
    kvs = (await store.range(RangeOp(key, revision=revision))).kvs
    return kvs[0] if kvs else None


async def keys_of(store: Store, prefix: str, revision: int = 0) -> list[str]:
    """The keys below `prefix`, without it."""
    op = RangeOp(prefix, prefix_end(prefix), revision=revision, keys_only=True)
    return [kv.key.removeprefix(prefix) for kv in (await store.range(op)).kvs]


async def revision_of(store: Store) -> int:
    """Where the store is now."""
    return (await store.range(RangeOp("no-such-key"))).header.revision


@dataclass(frozen=True, slots=True)
class Change:
    """An event without what depends on where the store began."""

    key: str
    value: bytes | None
    revision: int


def changes_of(events: Sequence[Event]) -> list[Change]:
    return [
        Change(event.kv.key, None if event.is_delete else event.kv.value, event.kv.mod_revision)
        for event in events
    ]


class Listener:
    """A watch, asked for one thing at a time, each within `LIMIT_SECONDS`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._responses: AsyncIterator[WatchResponse] = aiter(watch)

    async def response(self) -> WatchResponse:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await anext(self._responses)

    async def created(self) -> WatchResponse:
        response = await self.response()
        assert response.created
        return response

    async def events(self, count: int) -> list[Event]:
        """Collect until there are `count`; progress notifications are passed over."""
        events: list[Event] = []
        while len(events) < count:
            events += (await self.response()).events
        assert len(events) == count
        return events

    async def changes(self, count: int) -> list[Change]:
        return changes_of(await self.events(count))

    async def close(self) -> None:
        await self._watch.close()
