"""`Reporter`: writes what this node sees under its own prefix, fenced by its session.

It holds the latest observation of each instance, and writes those that the store does not have
yet. While the store or the session is away they wait here; nothing else does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from orchestrator.model.errors import StateError
from orchestrator.model.instance import NEXT, InstanceName, InstanceObservation
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import NodeReport
from orchestrator.model.records import Record, dump, load
from store.errors import StoreError
from store.ledger import Listing
from store.listing import list_prefix
from store.patience import Patience
from store.protocol import Store
from store.transactions import (
    Committed,
    Delete,
    FenceLost,
    Mutation,
    Put,
    SessionFence,
    Transaction,
    batched,
    commit,
)
from store.values import RangeOp

log = structlog.get_logger()


class Reporter:
    """`reported` is what was last decided to be said of each instance, written or not."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        *,
        patience: Callable[[], Patience],
        rng: random.Random,
    ) -> None:
        self.reported: dict[InstanceName, InstanceObservation] = {}
        self._store = store
        self._keys = keys
        self._node = node
        self._patience = patience
        self._rng = rng
        self._fence: SessionFence | None = None
        self._bases: dict[str, int] = {}
        self._unwritten: dict[str, Record | None] = {}
        self._has_news = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def load(self) -> None:
        """Take up what an earlier life of this agent has reported. `StoreError` passes."""
        listing = await self._learn_bases()
        for kv in listing.kvs:
            self._take_up(kv.key, kv.value)

    def _take_up(self, key: str, value: bytes) -> None:
        try:
            parsed = self._keys.parse(key)
            record = load(parsed, value)
        except StateError as error:
            log.warning(
                "an observation of ours cannot be read; writing it anew", problem=str(error)
            )
            return
        assert isinstance(parsed.name, InstancePlace)
        assert isinstance(record, InstanceObservation)
        self.reported.setdefault(parsed.name.instance, record)

    def set_fence(self, fence: SessionFence | None) -> None:
        """With None nothing is written until there is a session again."""
        self._fence = fence
        self._has_news.set()

    def report_node(self, report: NodeReport) -> None:
        self._note(self._keys.node_report(self._node), report)

    def report(self, name: InstanceName, observation: InstanceObservation) -> None:
        """Say it, if it is news and a step forward; what goes back is dropped and logged."""
        last = self.reported.get(name)
        if last == observation:
            return
        if last and last.assignment == observation.assignment and _goes_back(last, observation):
            log.error("a status would go back", instance=str(name), said=last.status)
            return
        self.reported[name] = observation
        self._note(self._key(name), observation)

    def retract(self, name: InstanceName) -> None:
        """The instance is forgotten, and nothing of it is left here."""
        if self.reported.pop(name, None) is not None:
            self._note(self._key(name), None)

    async def flushed(self) -> None:
        """Wait until the store has everything."""
        await self._is_idle.wait()

    async def run(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            if self._fence is None or not self._unwritten:
                continue
            try:
                await self._write(self._fence)
            except StoreError as error:
                log.warning("reports wait for the store", problem=str(error))
                self._has_news.set()
                await asyncio.sleep(0.2)

    def _key(self, name: InstanceName) -> str:
        return self._keys.observation(InstancePlace(self._node, name))

    def _note(self, key: str, record: Record | None) -> None:
        self._unwritten[key] = record
        self._is_idle.clear()
        self._has_news.set()

    async def _write(self, fence: SessionFence) -> None:
        writing = dict(self._unwritten)
        groups = [
            [each] for key, record in writing.items() if (each := self._mutation(key, record))
        ]
        for transaction in batched(groups, fence, self._new_op):
            outcome = await commit(self._store, transaction, self._patience())
            if isinstance(outcome, FenceLost):
                self._fence = None
                return
            if not isinstance(outcome, Committed):
                await self._learn_bases()
                self._has_news.set()
                return
            self._note_bases(transaction, outcome.revision)
        for key, record in writing.items():
            if self._unwritten.get(key, record) is record:
                self._unwritten.pop(key, None)
        if not self._unwritten:
            self._is_idle.set()

    def _mutation(self, key: str, record: Record | None) -> Mutation | None:
        base = self._bases.get(key, 0)
        if record is None:
            return Delete(key, base) if base else None
        return Put(key, dump(record), base)

    def _note_bases(self, transaction: Transaction, revision: int) -> None:
        for mutation in transaction.mutations:
            if isinstance(mutation, Put):
                self._bases[mutation.key] = revision
            else:
                self._bases.pop(mutation.key, None)

    async def _learn_bases(self) -> Listing:
        """Where our rows stand now. Should somebody else have touched them, what we see is still
        what counts."""
        listing = await list_prefix(self._store, self._keys.observations(self._node))
        rows = (await self._store.range(RangeOp(self._keys.node_report(self._node)))).kvs
        self._bases = {kv.key: kv.mod_revision for kv in (*listing.kvs, *rows)}
        return listing

    def _new_op(self) -> str:
        return f"{self._rng.getrandbits(96):024x}"


def _goes_back(last: InstanceObservation, new: InstanceObservation) -> bool:
    return new.status is not last.status and new.status not in NEXT[last.status]
