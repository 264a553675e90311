"""Stores in memory for tests in virtual time."""

from __future__ import annotations

import random

from orchestrator.simulation.virtual_time import virtual_now
from store.memory.cluster import MemoryCluster
from store.memory.meanness import CALM, Meanness
from store.values import prefix_end
from tests.support.stores import Listener


def memory_cluster(meanness: Meanness = CALM, *, seed: int = 1) -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(seed), meanness=meanness)


def listen(memory: MemoryCluster, client: str, start_revision: int = 0) -> Listener:
    """Watch everything under "/" as `client`."""
    store = memory.connect(client)
    return Listener(store.watch("/", range_end=prefix_end("/"), start_revision=start_revision))
