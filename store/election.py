"""Election: who may act, proved by the `create_revision` of one key.

Theory of operation
-------------------
*One key.* Every candidate tries to create the same key on its own lease, and waits for the mirror
to show it deleted when somebody else has. With a handful of candidates there is no herd worth
queueing; the first to create it after a deletion leads. The key's `create_revision` is the epoch:
it only ever grows, and every write of the leader is compared with it.

*The barrier.* A new leader acts only after its own mirror has delivered its own key. A watch is
ordered, so the mirror then holds everything that earlier leaders wrote. No read can promise
that: linearizable reads have been stale in many an etcd (#20418).

*Strays.* A create whose answer was lost may be carried out much later, when the key is free again:
"must not exist" is a guard that can come true twice. So the key is known as ours by the lease on
it, whichever copy has put it there.

*The dead.* Who knows at once that the holder's process has died may say so (`DeathWatch`); then its
lease is revoked rather than waited for. A lease id is never used twice, so that an error, or a late
copy, harms nobody but that very holder; and a holder that lives after all is fenced by the loss of
its key, as by the end of its lease. All candidates may revoke it at once.

*Written over.* People who write the key by hand take it off its lease, and it would outlive its
leader. Whoever leads writes it again on the lease (`keep`). A key on no lease that stays so for a
TTL belongs to nobody, and candidates delete it: who leads in spite of that is fenced.

*Rejected:* returning as soon as the key is ours (the lease may have died while we waited: etcd's
own `Campaign` does not look); a queue of candidate keys (fair, but slower to hand over).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf

from store.errors import LeaseNotFound, OutcomeUnknown, SessionLost, Unavailable
from store.mirror import Mirror
from store.patience import Clock, Patience
from store.protocol import DEFAULT_TIMEOUT_SECONDS, Store
from store.session import Session
from store.stamps import stamped
from store.transactions import Leadership, new_op
from store.values import (
    Compare,
    DeleteOp,
    KeyValue,
    PutOp,
    RangeOp,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)

DeathWatch = Callable[[KeyValue], Awaitable[bool]]
"""Given who holds the key: True once its process has surely died, False if nobody will be able to
tell. It is cancelled when the key is gone."""


async def left_to_its_lease(_holder: KeyValue) -> bool:
    return False


class Election:
    """One candidate for `key`, which must lie under the mirror's prefix.

    `value` is a JSON object that tells people who leads; it proves nothing. A candidate that
    restarts under the same name is a new candidate: only its session counts.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        key: str,
        session: Session,
        value: bytes,
        *,
        clock: Clock,
        rng: random.Random,
        is_dead: DeathWatch = left_to_its_lease,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._key = key
        self._session = session
        self._value = value
        self._rng = rng
        self._is_dead = is_dead
        self._timeout_seconds = min(DEFAULT_TIMEOUT_SECONDS, session.ttl_seconds / 3)
        """What a member passes on to an etcd leader that has just died is never answered."""

        self._patience = Patience(
            clock, rng, limit_seconds=inf, is_over=lambda: not session.remaining_seconds()
        )

    async def campaign(self) -> Leadership:
        """Wait until we lead, for as long as the session lasts; then raise `SessionLost`.

        On return the mirror holds everything that was written before our epoch, and the session
        is trusted. `Refused` and its kinds pass through (`NoSpace`: nobody can be elected).
        """
        while True:
            holder = await self._race()
            if holder.lease != self._session.lease_id:
                await self._outlive(holder)
                continue
            await self._mirror.reached(holder.create_revision)
            if not self._session.is_trusted():
                raise SessionLost(
                    f"won {self._key!r}, but the session has not been renewed for too long to act"
                )
            if self._seen_epoch() == holder.create_revision:
                return Leadership(self._key, holder.create_revision)

    async def resign(self, leadership: Leadership) -> None:
        """Delete the key if it is still ours, so that the next candidate need not wait.

        Repeats until it is known to be gone or the session has ended; then `Unavailable` or
        `OutcomeUnknown` is raised. Stop everything that relies on `leadership` first.
        """
        is_ours = Compare(leadership.key, Target.CREATE, leadership.create_revision)
        txn = Txn((is_ours,), (DeleteOp(leadership.key),))
        async for attempt in self._patience.retrying(Unavailable, OutcomeUnknown):
            with attempt:
                await self._store.txn(txn)

    async def keep(self, leadership: Leadership) -> None:
        """Put the key back on our lease whenever somebody has written over it; returns when it is
        ours no more. Raises `SessionLost`."""
        ours = leadership.create_revision
        while self._seen_epoch() == leadership.create_revision:
            if self._seen_revision() == ours:
                await self._changed_since(ours)
                continue
            value = stamped(self._value, op=new_op(self._rng), base=ours, fence=None)
            is_ours = Compare(self._key, Target.CREATE, leadership.create_revision)
            put = PutOp(self._key, value, self._session.lease_id)
            ours = (await self._ask(Txn((is_ours,), (put,)), "a term at")).header.revision
            await self._mirror.reached(ours)

    async def _race(self) -> KeyValue:
        """Create the key unless it is there. Who holds it now: we, or somebody else."""
        lease_id = self._session.lease_id
        value = stamped(self._value, op=new_op(self._rng), base=0, fence=None)
        txn = Txn(
            (Compare(self._key, Target.CREATE, 0),),
            success=(PutOp(self._key, value, lease_id), RangeOp(self._key)),
            failure=(RangeOp(self._key),),
        )
        answer = (await self._ask(txn, "a campaign for")).results[-1]
        assert isinstance(answer, RangeResult)
        return answer.kvs[0]

    async def _ask(self, txn: Txn, during: str) -> TxnResult:
        """`txn` may be carried out twice. Raises `SessionLost` when our session ends first."""
        try:
            async for attempt in self._patience.retrying(Unavailable, OutcomeUnknown):
                with attempt:
                    return await self._store.txn(txn, timeout_seconds=self._timeout_seconds)
        except (LeaseNotFound, Unavailable, OutcomeUnknown) as error:
            raise SessionLost(f"the session ended during {during} {self._key!r}") from error
        raise AssertionError("retrying ends by an answer or an error")

    async def _outlive(self, holder: KeyValue) -> None:
        async with asyncio.TaskGroup() as tasks:
            bury = self._revoke_if_dead if holder.lease else self._delete_if_left
            burying = tasks.create_task(bury(holder))
            await self._wait_for_the_end_of(holder)
            burying.cancel()

    async def _delete_if_left(self, holder: KeyValue) -> None:
        """It is on no lease: then nobody leads, or who does has had the time to see to it."""
        await asyncio.sleep(self._session.ttl_seconds)
        is_as_it_was = Compare(self._key, Target.MOD, holder.mod_revision)
        with suppress(SessionLost):
            await self._ask(Txn((is_as_it_was,), (DeleteOp(self._key),)), "a campaign for")

    async def _revoke_if_dead(self, holder: KeyValue) -> None:
        """No answer within our own session: then that is lost too, and whoever keeps it says so."""
        if not holder.lease or not await self._is_dead(holder):
            return
        with suppress(LeaseNotFound, Unavailable, OutcomeUnknown):
            async for attempt in self._patience.retrying(Unavailable, OutcomeUnknown):
                with attempt:
                    await self._store.revoke_lease(
                        holder.lease, timeout_seconds=self._timeout_seconds
                    )

    async def _wait_for_the_end_of(self, holder: KeyValue) -> None:
        """Or of what has been seen of it: somebody may have written over it. The mirror may not
        have come to that holder yet: until then its absence means nothing."""
        await self._mirror.reached(holder.mod_revision)
        await self._changed_since(holder.mod_revision)

    async def _changed_since(self, revision: int) -> None:
        await self._mirror.until(lambda: self._seen_revision() != revision)

    def _seen_epoch(self) -> int:
        """Of whoever holds the key, as far as the mirror has come; 0 if nobody does."""
        version = self._mirror.versions.get(self._key)
        return version.create_revision if version else 0

    def _seen_revision(self) -> int:
        version = self._mirror.versions.get(self._key)
        return version.mod_revision if version else 0
