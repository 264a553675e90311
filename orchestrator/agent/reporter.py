"""`Reporter`: writes what this node sees under its own prefix, fenced by its session.

It holds the latest observation of each instance, and what else there is to say of the node, and
writes what the store does not have yet. While the store or the session is away that waits here;
nothing else does. Now and then it looks whether its rows are still as it left them: people delete
some, and a late copy of a write that was given up on may bring one back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import NoReturn

import structlog

from orchestrator.model.errors import StateError
from orchestrator.model.instance import NEXT, InstanceName, InstanceObservation
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import NodeReport
from orchestrator.model.records import Record, dump, load
from store.commit import commit
from store.errors import StoreError, Unavailable
from store.listing import list_prefix
from store.patience import Clock, Patience
from store.protocol import Store
from store.transactions import (
    Committed,
    Delete,
    FenceLost,
    Mutation,
    Outcome,
    Put,
    SessionFence,
    Transaction,
    batched,
    new_op,
)
from store.values import KeyValue, RangeOp, RangeResult, Txn, prefix_end

log = structlog.get_logger()

AUDIT_SECONDS = 10.0
"""How long a stranger's edit of our rows, or of our session, goes unnoticed."""


class Reporter:
    """`reported` is what was last decided to be said of each instance, written or not; `said` is
    the same of the node's other rows, by their keys. `fence` is that of the session, if any."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        *,
        clock: Clock,
        patience: Callable[[], Patience],
        rng: random.Random,
    ) -> None:
        self.reported: dict[InstanceName, InstanceObservation] = {}
        self.said: dict[str, Record] = {}
        self._store = store
        self._keys = keys
        self._node = node
        self._clock = clock
        self._audit_at = clock() + AUDIT_SECONDS
        self._patience = patience
        self._rng = rng
        self.fence: SessionFence | None = None
        self._on_lost: Callable[[], None] = lambda: None
        self._bases: dict[str, int] = {}
        self._unwritten: dict[str, Record | None] = {}
        self._afloat: set[str] = set()
        """Keys of which a write may yet be carried out, or may have been."""
        self._has_news = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._has_written = asyncio.Condition()

    async def load(self) -> None:
        """Take up what an earlier life of this agent has reported. `StoreError` passes."""
        listings = [await list_prefix(self._store, each) for each in self._prefixes]
        rows = [kv for listing in listings for kv in listing.kvs]
        reports = (await self._store.range(RangeOp(self._keys.node_report(self._node)))).kvs
        self._bases = {kv.key: kv.mod_revision for kv in (*rows, *reports)}
        for kv in rows:
            self._take_up(kv.key, kv.value)
        for name, said in self.reported.items():
            key = self._keys.observation(InstancePlace(self._node, name))
            if key not in self._bases:  # the store was put back to before it was said
                self._note(key, said)

    def _take_up(self, key: str, value: bytes) -> None:
        try:
            parsed = self._keys.parse(key)
        except StateError:
            return
        try:
            record = load(parsed, value)
        except StateError as error:
            log.warning("a row of ours cannot be read", problem=str(error))
            self._note(key, None)
            return
        if isinstance(parsed.name, InstancePlace):
            assert isinstance(record, InstanceObservation)
            self._compare(key, parsed.name.instance, record)
        else:
            self.said.setdefault(key, record)

    def _compare(self, key: str, name: InstanceName, found: InstanceObservation) -> None:
        """What went on here while the store was away is news, unless it has heard of the end."""
        said = self.reported.get(name)
        is_past = said is None or said.assignment != found.assignment or found.status.is_finished
        if is_past:
            self.reported[name] = found
        elif said != found:
            self._note(key, said)

    def set_fence(
        self, fence: SessionFence | None, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        """With None nothing is written until there is a session again. `on_lost` is called when
        the store says that this one is not."""
        self.fence = fence
        self._on_lost = on_lost
        self._has_news.set()

    def report_node(self, report: NodeReport) -> None:
        """Also when it is no news: a new session makes sure that it is there."""
        key = self._keys.node_report(self._node)
        self.said[key] = report
        self._note(key, report)

    def say(self, key: str, record: Record) -> None:
        """Any other row of this node's, if it is news."""
        if self.said.get(key) != record:
            self.said[key] = record
            self._note(key, record)

    def unsay(self, key: str) -> None:
        if self.said.pop(key, None) is not None:
            self._note(key, None)

    async def written(self, keys: Collection[str]) -> None:
        """Wait until the store has what was said of `keys`, or that it was unsaid."""
        async with self._has_written:
            await self._has_written.wait_for(lambda: self._unwritten.keys().isdisjoint(keys))

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

    def take_back(self, name: InstanceName, earlier: InstanceObservation) -> bool:
        """Say `earlier` instead of what was said last, if the store surely never hears that."""
        key = self._key(name)
        if key not in self._unwritten or key in self._afloat:
            return False
        self.reported[name] = earlier
        self._note(key, earlier)
        return True

    def is_written(self, name: InstanceName) -> bool:
        return self._key(name) not in self._unwritten

    def resume(self, name: InstanceName, observation: InstanceObservation) -> None:
        """What an earlier life has said, as far as is known without the store."""
        self.reported.setdefault(name, observation)

    def retract(self, name: InstanceName) -> None:
        """The instance is forgotten, and nothing of it is left here."""
        if self.reported.pop(name, None) is not None:
            self._note(self._key(name), None)

    async def flushed(self) -> None:
        """Wait until the store has everything."""
        await self._is_idle.wait()

    async def run(self) -> NoReturn:
        failures = 0
        while True:
            await self._woken()
            if (fence := self.fence) is None:
                continue
            try:
                await self._attend(fence)
                failures = 0
            except StoreError as error:
                failures += 1
                log.warning("reports wait for the store", problem=str(error))
                self._has_news.set()
                await asyncio.sleep(self._patience().wait_seconds(failures))

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(AUDIT_SECONDS):
                await self._has_news.wait()
        except TimeoutError:
            return
        self._has_news.clear()

    async def _attend(self, fence: SessionFence) -> None:
        if self._clock() >= self._audit_at:
            await self._audit(fence)
        if self._unwritten:
            await self._write(fence)

    @property
    def _prefixes(self) -> tuple[str, ...]:
        """Of the rows that are ours alone."""
        return (self._keys.observations(self._node), self._keys.volumes(self._node))

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
        for transaction in batched(groups, fence, lambda: new_op(self._rng)):
            outcome = await self._commit(transaction)
            if isinstance(outcome, FenceLost):
                self._lose(fence)
                return
            if not isinstance(outcome, Committed):
                await self._audit(fence)
                self._has_news.set()
                return
            self._note_bases(transaction, outcome.revision)
        for key, record in writing.items():
            if self._unwritten.get(key, record) is record:
                self._unwritten.pop(key, None)
        if not self._unwritten:
            self._is_idle.set()
        async with self._has_written:
            self._has_written.notify_all()

    async def _commit(self, transaction: Transaction[SessionFence]) -> Outcome:
        keys = {mutation.key for mutation in transaction.mutations}
        before = self._afloat & keys
        self._afloat |= keys
        try:
            outcome = await commit(self._store, transaction, self._patience())
        except Unavailable:
            self._afloat -= keys - before
            raise
        self._afloat -= keys
        return outcome

    def _mutation(self, key: str, record: Record | None) -> Mutation | None:
        base = self._bases.get(key, 0)
        if record is None:
            return Delete(key, base) if base else None
        return Put(key, dump(record), base)

    def _note_bases(self, transaction: Transaction[SessionFence], revision: int) -> None:
        for mutation in transaction.mutations:
            if isinstance(mutation, Put):
                self._bases[mutation.key] = revision
            else:
                self._bases.pop(mutation.key, None)

    def _lose(self, fence: SessionFence) -> None:
        """Unless there is another one by now."""
        if self.fence is fence:
            self.fence = None
            self._on_lost()

    async def _audit(self, fence: SessionFence) -> None:
        """Write again what somebody else has touched: what we see is still what counts."""
        ours = [RangeOp(each, prefix_end(each), keys_only=True) for each in self._prefixes]
        single = (self._keys.node_report(self._node), fence.key)
        others = [RangeOp(each, keys_only=True) for each in single]
        result = await self._store.txn(Txn(success=(*ours, *others)))
        self._audit_at = self._clock() + AUDIT_SECONDS
        rows = [kv for each in result.results if isinstance(each, RangeResult) for kv in each.kvs]
        found = {kv.key: kv for kv in rows}
        session = found.pop(fence.key, None)
        if not _is_alive(session, fence):
            self._lose(fence)
            return
        bases = {key: kv.mod_revision for key, kv in found.items()}
        for key in sorted({*bases, *self._bases}):
            if bases.get(key) != self._bases.get(key):
                self._say_again(key)
        self._bases = bases

    def _say_again(self, key: str) -> None:
        try:
            name = self._keys.parse(key).name
        except StateError:
            return  # under our prefix, and none of the table's
        if isinstance(name, InstancePlace):
            self._note(key, self.reported.get(name.instance))
        elif key in self.said or key != self._keys.node_report(self._node):
            self._note(key, self.said.get(key))  # an old node report stays until there is a new one


def _is_alive(session: KeyValue | None, fence: SessionFence) -> bool:
    """One that somebody has written over has no lease any more: it would outlive its agent."""
    if session is None or session.create_revision != fence.create_revision:
        return False
    return session.lease != 0


def _goes_back(last: InstanceObservation, new: InstanceObservation) -> bool:
    return new.status is not last.status and new.status not in NEXT[last.status]
