"""Writers who commit guarded changes to a mean store, and remember what they were told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.simulation.history import History
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.commit import commit, send, to_txn
from store.errors import OutcomeUnknown, StoreError, Unavailable
from store.memory.cluster import MemoryCluster
from store.memory.meanness import CALM, Meanness, Seconds
from store.patience import Patience
from store.protocol import Store
from store.transactions import (
    AnyTransaction,
    Check,
    Delete,
    Fence,
    Mutation,
    Outcome,
    Put,
    Transaction,
    new_op,
)
from store.values import KeyValue
from tests.support.stores import delete, get, put

LEADER = "/leader"

MEAN = Meanness(
    request_seconds=(0.0, 0.2),
    reply_seconds=(0.0, 0.2),
    refused=0.1,
    lost_request=0.1,
    lost_reply=0.15,
    late_commit=0.15,
    late_seconds=(0.0, 5.0),
    cut_seconds=(0.0, 0.5),
)

SETTLED_SECONDS = 60.0
"""After that nothing is on its way any more."""

Commit = Callable[[Store, AnyTransaction, Patience], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Habits:
    """What the writers do. `keys` are those of one writer, or of all when they are shared."""

    keys: int = 3
    is_shared: bool = False
    deletes: bool = False
    commit: Commit = commit
    leads_seconds: Seconds = (1.0, 4.0)
    writers: int = 3
    rounds: int = 15


@dataclass(frozen=True, slots=True)
class Story:
    """What was committed, and what each writer was told; None: the outcome stayed unknown."""

    history: History = field(default_factory=History)
    told: list[tuple[AnyTransaction, Outcome | None]] = field(default_factory=list)


def story_of(seed: int, habits: Habits) -> Story:
    """Let writers work under changing leaders, then wait until the last late copy has landed."""
    story = Story()

    @in_virtual_time
    async def unfold() -> None:
        memory = MemoryCluster(virtual_now, random.Random(seed), meanness=MEAN)
        memory.observe(story.history.record)
        rng = random.Random(seed)
        leaders = asyncio.create_task(change_leaders(memory, rng, habits.leads_seconds))
        async with asyncio.TaskGroup() as group:
            for index in range(habits.writers):
                store = memory.connect(f"writer-{index}")
                group.create_task(Writer(store, index, habits, story, rng).work())
        leaders.cancel()
        await asyncio.sleep(SETTLED_SECONDS)

    unfold()
    return story


async def change_leaders(memory: MemoryCluster, rng: random.Random, leads_seconds: Seconds) -> None:
    store = memory.connect("leaders", meanness=CALM)
    while True:
        await put(store, LEADER)
        await asyncio.sleep(rng.uniform(*leads_seconds))
        await delete(store, LEADER)
        await asyncio.sleep(rng.uniform(0.0, 0.5))


class Writer:
    """Reads some of its keys, thinks, and commits a change of what it has read, again and again.

    It may believe in a leader that is long gone, as one does after a pause.
    """

    def __init__(
        self, store: Store, index: int, habits: Habits, story: Story, rng: random.Random
    ) -> None:
        owner = "all" if habits.is_shared else str(index)
        self._keys = [f"/{owner}/{key}" for key in range(habits.keys)]
        self._store = store
        self._habits = habits
        self._story = story
        self._rng = rng
        self._fence: Fence | None = None
        self._patience = Patience(virtual_now, rng, limit_seconds=20.0)

    async def work(self) -> None:
        for _ in range(self._habits.rounds):
            transaction = await self._decide()
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))
            self._story.told.append((transaction, await self._outcome_of(transaction)))
            if self._rng.random() < 0.3:
                self._fence = None

    async def _decide(self) -> AnyTransaction:
        fence = self._fence = self._fence or await self._current_fence()
        keys = self._rng.sample(self._keys, self._rng.randint(1, len(self._keys)))
        mutations = [self._mutation(key, await self._read(key)) for key in keys]
        return Transaction(tuple(mutations), new_op(self._rng), fence)

    def _mutation(self, key: str, kv: KeyValue | None) -> Mutation:
        base = kv.mod_revision if kv else 0
        chance = self._rng.random()
        if chance < 0.1:
            return Check(key, base)
        if chance < 0.4 and base and self._habits.deletes:
            return Delete(key, base)
        return Put(key, b"{}", base)

    async def _outcome_of(self, transaction: AnyTransaction) -> Outcome | None:
        try:
            return await self._habits.commit(self._store, transaction, self._patience)
        except (OutcomeUnknown, Unavailable):
            return None

    async def _current_fence(self) -> Fence:
        while not (kv := await self._read(LEADER)):
            await asyncio.sleep(0.1)
        return Fence(LEADER, kv.create_revision)

    async def _read(self, key: str) -> KeyValue | None:
        async for attempt in self._patience.retrying(StoreError):
            with attempt:
                return await get(self._store, key)
        raise AssertionError("retrying ends by an answer or an error")


def careless(*, fenced: bool = True, guarded: bool = True) -> Commit:
    """A `commit` with a guard switched off, that does otherwise just what the true one does."""
    return partial(_commit_carelessly, fenced=fenced, guarded=guarded)


async def _commit_carelessly(
    store: Store, transaction: AnyTransaction, patience: Patience, *, fenced: bool, guarded: bool
) -> Outcome:
    txn = to_txn(transaction, fenced=fenced, guarded=guarded)
    resent = False
    async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
        with attempt:
            try:
                return await send(store, transaction, txn, resent=resent)
            except OutcomeUnknown:
                resent = True
                raise
    raise AssertionError("retrying ends by an answer or an error")


def puts_of(transaction: AnyTransaction) -> Sequence[Put]:
    return [mutation for mutation in transaction.mutations if isinstance(mutation, Put)]
