"""What is assigned to this node: one watch on the node's own prefix, and the templates named."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment, InstanceName
from orchestrator.model.keys import InstancePlace, Keys, RevisionName
from orchestrator.model.records import load
from orchestrator.model.workload import WorkloadTemplate
from store.mirror import Batch, Change, Mirror
from store.patience import Clock
from store.protocol import Store
from store.values import RangeOp

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment and its identity: the create_revision of its row."""

    assignment: Assignment
    revision: int


class Assignments:
    """`by_name` is what the leader wants of this node. A damaged row keeps its last good
    version in force."""

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
            assert isinstance(parsed.name, InstancePlace)
            name = parsed.name.instance
            if change.kv is None:
                self.by_name.pop(name, None)
                return
            record = load(parsed, change.kv.value)
        except StateError as error:
            log.warning("an assignment cannot be read; its last version stays", problem=str(error))
            return
        assert isinstance(record, Assignment)
        self.by_name[name] = Assigned(record, change.kv.create_revision)


class Templates:
    """Templates by revision. They never change, so each is read once."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._known: dict[RevisionName, WorkloadTemplate] = {}

    async def fetch(self, assignment: Assignment) -> WorkloadTemplate:
        """Raises `StateError` if the store has none, or a damaged one; `StoreError` passes."""
        name = _revision_name(assignment)
        if (template := self._known.get(name)) is not None:
            return template
        key = self._keys.revision(name.workload, name.generation)
        result = await self._store.range(RangeOp(key))
        if not result.kvs:
            raise StateError(
                f"the template of {name.workload}, generation {name.generation}, is missing from"
                " the store: apply the workload again"
            )
        record = load(self._keys.parse(key), result.kvs[0].value)
        assert isinstance(record, WorkloadTemplate)
        self._known[name] = record
        return record

    def keep_only(self, assignments: list[Assignment]) -> None:
        """Let go of the templates that nothing names any more."""
        names = {_revision_name(assignment) for assignment in assignments}
        self._known = {name: each for name, each in self._known.items() if name in names}


def _revision_name(assignment: Assignment) -> RevisionName:
    return RevisionName(assignment.name.workload_key, assignment.generation)
