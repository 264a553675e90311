"""Whether the store answers, and whether what we know of it is current: for `/readyz`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from store.errors import StoreError
from store.mirror import Mirror
from store.patience import Clock
from store.protocol import PROGRESS_SECONDS, Store
from store.values import RangeOp

STORE_LIMIT_SECONDS = 1.5
SILENCE_LIMIT_SECONDS = 3 * PROGRESS_SECONDS
"""By then the mirror has given a silent watch up, and another has said nothing either."""

Probe = Callable[[], Awaitable[str | None]]


def store_probe(store: Store, root: str) -> Probe:
    """Asks the store for the newest state, which takes a quorum of it."""

    async def probe() -> str | None:
        question = RangeOp(root, limit=1, keys_only=True)
        try:
            await store.range(question, timeout_seconds=STORE_LIMIT_SECONDS)
        except StoreError as error:
            return f"the store does not answer: {error}"
        return None

    return probe


def mirror_probe(mirror: Mirror, clock: Clock) -> Probe:
    async def probe() -> str | None:
        if not mirror.is_synced or mirror.last_heard is None:
            return "the store has not been read yet"
        silence = clock() - mirror.last_heard
        if silence > SILENCE_LIMIT_SECONDS:
            return f"the store's watch has said nothing for {silence:.0f} s"
        return None

    return probe


def layout_probe(refusal: Callable[[], str]) -> Probe:
    """Whether this release may write to the store, and reads it as it is meant. `refusal`: why not,
    in words."""

    async def probe() -> str | None:
        return refusal() or None

    return probe
