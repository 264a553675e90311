"""What is assigned to this node: one watch on the node's own prefix, and the templates named."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from orchestrator.model.errors import NetworkError, StateError
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys, ParsedKey
from orchestrator.model.records import load
from orchestrator.model.workload import WorkloadTemplate
from store.mirror import Batch, Change, Mirror
from store.patience import Clock
from store.protocol import Store
from store.values import KeyValue, RangeOp

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment, its identity (the create_revision of its row), and whom it comes after."""

    assignment: Assignment
    revision: int
    after: tuple[InstanceName, ...] = ()


class Assignments:
    """`by_name` is what the leader wants of this node. A damaged row keeps its last good
    version in force; `unreadable` are those of which none is known, so that what runs of them
    can only be left alone.

    Until `obey` it is what an earlier life of this agent has `remembered`: no more than that is
    known, and not that anything else is unwanted."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        *,
        clock: Clock,
        rng: random.Random,
        wake: Callable[[], None],
        remembered: Mapping[InstanceName, Assigned] = MappingProxyType({}),
    ) -> None:
        self.by_name: Mapping[InstanceName, Assigned] = remembered
        self._read: dict[InstanceName, Assigned] = {}
        self.unreadable: set[InstanceName] = set()
        self._keys = keys
        self._wake = wake
        self.mirror = Mirror(store, keys.assignments(node), self._fold, clock=clock, rng=rng)

    async def run(self) -> None:
        """Raises `StoreReplaced` when the store has gone back, or is another one."""
        await self.mirror.run()

    def obey(self) -> None:
        """The mirror has all that the store says: from now on that counts."""
        self.by_name = self._read

    @property
    def is_obeyed(self) -> bool:
        return self.by_name is self._read

    def knows_of(self, name: InstanceName) -> bool:
        """Whether it is known to be wanted here, or not to be."""
        return self.is_obeyed or name in self.by_name

    def _fold(self, batch: Batch) -> None:
        for change in batch.changes:
            self._apply(change)
        self._wake()

    def _apply(self, change: Change) -> None:
        try:
            parsed = self._keys.parse(change.key)
        except StateError as error:
            log.warning("a row among the assignments is none", problem=str(error))
            return
        assert isinstance(parsed.name, InstancePlace)
        name = parsed.name.instance
        self.unreadable.discard(name)
        if change.kv is None:
            self._read.pop(name, None)
            return
        try:
            self._read[name] = self._assigned(parsed, change.kv)
        except StateError as error:
            log.warning("an assignment cannot be read; its last version stays", problem=str(error))
            if name not in self._read:
                self.unreadable.add(name)

    def _assigned(self, parsed: ParsedKey, kv: KeyValue) -> Assigned:
        record = load(parsed, kv.value)
        assert isinstance(record, Assignment)
        after = tuple(InstanceName.parse(each) for each in record.after)
        return Assigned(record, kv.create_revision, after)


class Templates:
    """What instances are made of, as long as they are wanted.

    A template never changes, but it is read for each start all the same: when a workload is
    deleted and applied again, its generations are counted from the beginning. And the assignment
    is read with it, for the watch may lag, and most of all when this process was frozen: what it
    tells may have been given to another node since.
    """

    def __init__(self, store: Store, keys: Keys, node: str) -> None:
        self._store = store
        self._keys = keys
        self._node = node

    async def fetch(self, assignment: Assignment, revision: int) -> WorkloadTemplate:
        """Of the assignment that was created at `revision`.

        Raises `NetworkError` if it is not in force any more, `StateError` if the store has no
        template of it, or a damaged one; `StoreError` passes.
        """
        workload, generation = assignment.name.workload_key, assignment.generation
        row = self._keys.assignment(InstancePlace(self._node, assignment.name))
        key = self._keys.revision(workload, generation)
        found, assigned = await asyncio.gather(
            self._store.range(RangeOp(key)), self._store.range(RangeOp(row))
        )
        if not self._is_in_force(assigned.kvs, revision):
            raise NetworkError(
                f"{assignment.name} is not to run here any more, which the watch has yet to tell"
            )
        if not found.kvs:
            raise StateError(
                f"the template of {workload}, generation {generation}, is missing from the store:"
                " apply the workload again"
            )
        record = load(self._keys.parse(key), found.kvs[0].value)
        assert isinstance(record, WorkloadTemplate)
        return record

    def _is_in_force(self, kvs: Sequence[KeyValue], revision: int) -> bool:
        """What cannot be read leaves the last version in force."""
        if not kvs or kvs[0].create_revision != revision:
            return False
        try:
            record = load(self._keys.parse(kvs[0].key), kvs[0].value)
        except StateError:
            return True
        assert isinstance(record, Assignment)
        return record.wanted is Wanted.RUNNING
