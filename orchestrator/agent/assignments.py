"""What is assigned to this node: one watch on the node's own prefix, and the templates named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment, InstanceName
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
    can only be left alone."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        node: str,
        *,
        clock: Clock,
        rng: random.Random,
        wake: Callable[[], None],
    ) -> None:
        self.by_name: dict[InstanceName, Assigned] = {}
        self.unreadable: set[InstanceName] = set()
        self._keys = keys
        self._wake = wake
        self.mirror = Mirror(store, keys.assignments(node), self._fold, clock=clock, rng=rng)

    async def run(self) -> None:
        """Raises `StoreReplaced` when the store has gone back, or is another one."""
        await self.mirror.run()

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
            self.by_name.pop(name, None)
            return
        try:
            self.by_name[name] = self._assigned(parsed, change.kv)
        except StateError as error:
            log.warning("an assignment cannot be read; its last version stays", problem=str(error))
            if name not in self.by_name:
                self.unreadable.add(name)

    def _assigned(self, parsed: ParsedKey, kv: KeyValue) -> Assigned:
        record = load(parsed, kv.value)
        assert isinstance(record, Assignment)
        after = tuple(InstanceName.parse(each) for each in record.after)
        return Assigned(record, kv.create_revision, after)


class Templates:
    """What instances are made of.

    A template never changes, but it is read for each start all the same: when a workload is
    deleted and applied again, its generations are counted from the beginning.
    """

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def fetch(self, assignment: Assignment) -> WorkloadTemplate:
        """Raises `StateError` if the store has none, or a damaged one; `StoreError` passes."""
        workload, generation = assignment.name.workload_key, assignment.generation
        key = self._keys.revision(workload, generation)
        result = await self._store.range(RangeOp(key))
        if not result.kvs:
            raise StateError(
                f"the template of {workload}, generation {generation}, is missing from the store:"
                " apply the workload again"
            )
        record = load(self._keys.parse(key), result.kvs[0].value)
        assert isinstance(record, WorkloadTemplate)
        return record
