"""A sink that keeps what a mirror delivers, and a mirror that runs for as long as a test needs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.mirror import Batch, Mirror
from store.patience import Clock
from store.protocol import Store
from store.values import KeyValue, RangeOp, prefix_end

PREFIX = "/orc/"

LIMIT_SECONDS = 1000.0
"""On the loop's clock; in virtual time that is soon."""


class Fold:
    """What a sink makes of batches: the keys and values at `revision`."""

    def __init__(self) -> None:
        self.kvs: dict[str, KeyValue] = {}
        self.revision = 0
        self.batches: list[Batch] = []

    def __call__(self, batch: Batch) -> None:
        assert batch.revision >= self.revision, "a mirror never goes back"
        self.batches.append(batch)
        self.revision = batch.revision
        for key, kv in batch.changes:
            if kv is None:
                del self.kvs[key]
            else:
                self.kvs[key] = kv

    def sorted_kvs(self) -> tuple[KeyValue, ...]:
        return tuple(sorted(self.kvs.values(), key=lambda kv: kv.key))


def new_mirror(
    store: Store,
    fold: Fold,
    clock: Clock,
    *,
    prefix: str = PREFIX,
    page_size: int = 5000,
    silence_limit_seconds: float | None = 25.0,
) -> Mirror:
    return Mirror(
        store,
        prefix,
        fold,
        clock=clock,
        rng=random.Random(5),
        page_size=page_size,
        silence_limit_seconds=silence_limit_seconds,
    )


@asynccontextmanager
async def running(mirror: Mirror, *, is_synced: bool = True) -> AsyncIterator[None]:
    """Run `mirror`, and wait until it is synced. What ends the mirror ends the test."""
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(mirror.run())
        if is_synced:
            await mirror.synced()
        yield
        task.cancel()


async def listed(store: Store, prefix: str = PREFIX) -> tuple[KeyValue, ...]:
    return (await store.range(RangeOp(prefix, prefix_end(prefix)))).kvs
