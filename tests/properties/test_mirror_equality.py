"""Whatever is written and whatever goes wrong: a mirror is the store, at one revision."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import Compacted
from store.memory.cluster import MemoryCluster
from store.memory.meanness import CALM, Meanness
from store.mirror import Batch, Version
from store.protocol import Store
from store.values import DeleteOp, Op, PutOp, RangeOp, Txn, prefix_end
from tests.support.mirroring import PREFIX, Fold, listed, new_mirror, running

MEAN = Meanness(
    request_seconds=(0.0, 0.2),
    reply_seconds=(0.0, 0.2),
    refused=0.1,
    lost_request=0.05,
    lost_reply=0.05,
    stale_read=0.1,
    watch_seconds=(0.0, 0.5),
    watch_repeated=0.2,
    watch_broken=0.05,
    watch_compacted=0.03,
    fragment_events=2,
)


class ExactFold(Fold):
    """Compares itself with the store's past after every batch, where that is not compacted."""

    def __init__(self, memory: MemoryCluster) -> None:
        super().__init__()
        self.compared = 0
        self._memory = memory

    def __call__(self, batch: Batch) -> None:
        super().__call__(batch)
        try:
            then = self._memory.engine.range(
                RangeOp(PREFIX, prefix_end(PREFIX), revision=batch.revision)
            )
        except Compacted:
            return
        assert self.sorted_kvs() == then.kvs
        self.compared += 1


async def write_at_random(store: Store, rng: random.Random, transactions: int) -> None:
    for _ in range(transactions):
        names = rng.sample(range(20), rng.choice([1, 1, 2, 5]))
        ops: list[Op] = [
            DeleteOp(f"{PREFIX}{name}") if rng.random() < 0.4 else PutOp(f"{PREFIX}{name}", b"{}")
            for name in names
        ]
        if rng.random() < 0.1:
            ops = [DeleteOp(f"{PREFIX}1", f"{PREFIX}2")]
        await store.txn(Txn(success=tuple(ops)))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.uniform(0.0, 1.0))


@pytest.mark.parametrize("seed", range(25))
@in_virtual_time
async def test_a_mirror_is_the_store_at_each_of_its_revisions(seed: int) -> None:
    rng = random.Random(seed)
    memory = MemoryCluster(virtual_now, rng)
    user = memory.connect("user")
    memory.notify_progress_every(10.0)
    fold = ExactFold(memory)
    mean_store = memory.connect("mirror", meanness=MEAN)
    mirror = new_mirror(mean_store, fold, virtual_now, page_size=3)

    async with running(mirror):
        await write_at_random(user, rng, transactions=120)
        memory.treat(CALM, "mirror")
        async with asyncio.timeout(120.0):
            await mirror.reached(memory.engine.revision)

        kvs = await listed(user)
        assert fold.sorted_kvs() == kvs
        assert mirror.versions == {
            kv.key: Version(kv.create_revision, kv.mod_revision) for kv in kvs
        }
        assert fold.compared > 5
