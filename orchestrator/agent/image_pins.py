"""`PinStore`: which images exactly a generation of a workload is made of, decided once.

A tag may come to mean another image while a workload is scaled or moved. So the first agent that
needs the images of a generation looks what its tags mean, and creates a row that says so; whoever
comes later, or loses the race, goes by the row. It can only be created while the template is there
that it belongs to: the leader deletes both together.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.model.errors import StateError
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import Assignment
from orchestrator.model.keys import Keys
from orchestrator.model.records import dump, load
from store.commit import commit
from store.errors import SessionLost
from store.patience import Patience
from store.protocol import Store
from store.transactions import Check, Committed, FenceLost, Put, SessionFence, Transaction, new_op
from store.values import KeyValue, RangeOp, RangeResult, Txn


@dataclass(frozen=True, slots=True)
class _Rows:
    pins: dict[str, str] | None
    template: int
    """The revision of the template's row."""


class PinStore:
    """`fence` is the node's session, None while there is none."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        *,
        fence: Callable[[], SessionFence | None],
        patience: Callable[[], Patience],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._keys = keys
        self._fence = fence
        self._patience = patience
        self._rng = rng

    async def pin(
        self, assignment: Assignment, resolve: Callable[[], Awaitable[dict[str, str]]]
    ) -> dict[str, str]:
        """The image of each container: as the row says, or else as `resolve` does.

        Raises `StateError` if the template is gone or the row is damaged; `StoreError`, and what
        `resolve` raises, pass.
        """
        images: dict[str, str] | None = None
        while True:
            rows = await self._read(assignment)
            if rows.pins is not None:
                return rows.pins
            images = images or await resolve()
            if await self._create(assignment, images, rows.template):
                return images

    async def _read(self, assignment: Assignment) -> _Rows:
        workload, generation = assignment.name.workload_key, assignment.generation
        key = self._keys.image_pins(workload, generation)
        template = self._keys.revision(workload, generation)
        result = await self._store.txn(Txn(success=(RangeOp(key), RangeOp(template))))
        pins, of_template = (
            _only(each) for each in result.results if isinstance(each, RangeResult)
        )
        if of_template is None:
            raise StateError(
                f"the template of {workload}, generation {generation}, is missing from the store:"
                " apply the workload again"
            )
        if pins is None:
            return _Rows(None, of_template.mod_revision)
        record = load(self._keys.parse(key), pins.value)
        assert isinstance(record, ImagePins)
        return _Rows(record.images, of_template.mod_revision)

    async def _create(self, assignment: Assignment, images: dict[str, str], template: int) -> bool:
        """False if one of the two rows has changed meanwhile."""
        fence = self._fence()
        if fence is None:
            raise SessionLost("images cannot be pinned: this node has no session in the cluster")
        workload, generation = assignment.name.workload_key, assignment.generation
        put = Put(self._keys.image_pins(workload, generation), dump(ImagePins(images)), base=0)
        check = Check(self._keys.revision(workload, generation), template)
        transaction = Transaction((put, check), new_op(self._rng), fence)
        outcome = await commit(self._store, transaction, self._patience())
        if isinstance(outcome, FenceLost):
            raise SessionLost("images cannot be pinned: this node's session has ended")
        return isinstance(outcome, Committed)


def _only(answer: RangeResult) -> KeyValue | None:
    return answer.kvs[0] if answer.kvs else None
