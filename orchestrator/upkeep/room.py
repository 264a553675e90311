"""Making room: in a store that is out of space, which takes no lease, no leader and no controller;
and of events that are more than anybody reads, before they fill the controllers' memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress

from orchestrator.cluster.events import SECONDS_AN_HOUR
from orchestrator.model.keys import Keys
from store.defragmentation import NO_SPACE_ALARM
from store.errors import NoSpace
from store.maintenance import Recovery, Tell, recover_space
from store.protocol import Store
from store.values import DeleteOp, Txn

DROPPED_AT_ONCE = 10_000
"""Events that etcd deletes in one transaction, in a tenth of a second or so."""


async def drop_oldest_events(store: Store, keys: Keys, names: Collection[str], kept: int) -> int:
    """How many of `names`, all that there are, were deleted: none while they are at most `kept`,
    then a tenth of that more than need be, so as not to be back soon. Raises `StoreError`."""
    excess = len(names) - kept
    if excess <= 0:
        return 0
    count = min(excess + kept // 10, DROPPED_AT_ONCE)
    first_kept = keys.event_named(sorted(names)[count])
    await store.txn(Txn(success=(DeleteOp(keys.event_named(""), first_kept),)))
    return count


async def make_room(
    store: Store, keys: Keys, wall_clock: Callable[[], float], tell: Tell
) -> Recovery | None:
    """Drop the events of past hours and all history, shrink every member, lift the alarm.

    `tell` is called with each step before it is taken. None if the store is not out of space. May
    be repeated, and by several at once. Raises `StoreError` when a step fails; the alarm then
    stands. What the keys themselves take cannot be given back: when they fill the quota, the next
    write raises the alarm again.
    """
    if not any(alarm.name == NO_SPACE_ALARM for alarm in await store.alarms()):
        return None
    hour = int(wall_clock()) // SECONDS_AN_HOUR
    await _drop_events_before(store, keys, hour)
    return await recover_space(store, tell)


async def _drop_events_before(store: Store, keys: Keys, hour: int) -> None:
    """Unguarded: what is told of the past has no second writer, and expires within a day."""
    with suppress(NoSpace):  # etcd 3.5.0 to 3.5.6 refuse even to delete
        await store.txn(Txn(success=(DeleteOp(keys.event(0, ""), keys.event(hour, "")),)))
