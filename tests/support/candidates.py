"""Candidates of an election on a store in memory."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.simulation.virtual_time import virtual_now
from store.election import DeathWatch, Election, left_to_its_lease
from store.memory.cluster import MemoryCluster
from store.mirror import Mirror
from store.patience import Patience
from store.session import Session
from store.values import RangeOp
from tests.support.mirroring import PREFIX, Fold, new_mirror, running

KEY = PREFIX + "leader"
TTL_SECONDS = 6


def cluster(seed: int = 1) -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(seed))


def patience() -> Patience:
    return Patience(virtual_now, random.Random(2), limit_seconds=60.0)


@dataclass
class Candidate:
    election: Election
    session: Session
    mirror: Mirror
    fold: Fold


@asynccontextmanager
async def candidate(
    memory: MemoryCluster, name: str, seed: int = 1, is_dead: DeathWatch = left_to_its_lease
) -> AsyncIterator[Candidate]:
    """A replica with its session, which is not kept alive, and its mirror."""
    store = memory.connect(name)
    rng = random.Random(f"{name} {seed}")
    session = Session(store, ttl_seconds=TTL_SECONDS, clock=virtual_now, rng=rng)
    fold = Fold()
    mirror = new_mirror(store, fold, virtual_now)
    value = json.dumps({"replica": name}).encode()
    await session.open(patience())
    async with running(mirror):
        election = Election(
            store, mirror, KEY, session, value, clock=virtual_now, rng=rng, is_dead=is_dead
        )
        yield Candidate(election, session, mirror, fold)


async def holder(memory: MemoryCluster) -> tuple[str, int]:
    """Who holds the key, and since which revision."""
    (kv,) = (await memory.connect("observer").range(RangeOp(KEY))).kvs
    return json.loads(kv.value)["replica"], kv.create_revision
