"""Reading from the store by those who cannot go on without an answer."""

from __future__ import annotations

from store.errors import Unavailable
from store.patience import Patience
from store.protocol import Store
from store.values import RangeOp, RangeResult


async def read_until_answered(store: Store, question: RangeOp, patience: Patience) -> RangeResult:
    """Raises `Unavailable` when patience ends first; `Refused` and its kinds pass through."""
    async for attempt in patience.retrying(Unavailable):
        with attempt:
            return await store.range(question)
    raise AssertionError("retrying ends by an answer or an error")
