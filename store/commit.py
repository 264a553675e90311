"""`commit`: the only way anything above this package changes the store.

Theory of operation
-------------------
*One answer.* A timeout or a broken connection says nothing about the outcome: the write may
have happened, or may yet happen. `commit` resends the very same transaction until the store
gives a definite answer. Because of its guards (see "Two guards" in `store.transactions`) a second
execution is impossible, but for "Strays"; and because each put carries the transaction's own
operation id, "a guard failed, and the object carries my id" means that an earlier copy has won:
it is done.

*What is not promised.* Once somebody else has overwritten all that a transaction had put, nothing
tells any more that it was done: a resend then says `Conflict`.

*Rejected:* reading after a timeout to learn what happened (the write may land after the read);
retries in the channel (they hide which copy won).
"""

from __future__ import annotations

from collections.abc import Sequence

from store.errors import NoSpace, OutcomeUnknown, Unavailable
from store.patience import Patience
from store.protocol import Store
from store.stamps import Stamp, stamp_of
from store.transactions import (
    AnyTransaction,
    Committed,
    Conflict,
    Delete,
    FenceLost,
    Leadership,
    Outcome,
    Put,
    Transaction,
)
from store.values import (
    Compare,
    DeleteOp,
    KeyValue,
    Op,
    OpResult,
    PutOp,
    RangeOp,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)


async def commit_as_leader(
    store: Store, transaction: Transaction[Leadership], patience: Patience
) -> Outcome:
    """`commit`, of what only the leader may write: the controller's one way to change the store."""
    return await commit(store, transaction, patience)


async def commit(store: Store, transaction: AnyTransaction, patience: Patience) -> Outcome:
    """Send `transaction` until the store gives a definite answer.

    Raises `OutcomeUnknown` when patience ends first and a copy may still be carried out, and
    `Unavailable` when surely none was taken; `Refused` and its kinds pass through.
    """
    txn = to_txn(transaction)
    copies_afloat = False
    async for attempt in patience.retrying(Unavailable, OutcomeUnknown):
        with attempt:
            try:
                result = await store.txn(txn)
            except OutcomeUnknown:
                copies_afloat = True
                raise
            except (Unavailable, NoSpace) as refusal:
                if copies_afloat:
                    raise OutcomeUnknown(str(refusal)) from refusal
                raise
            return outcome_of(transaction, result, resent=copies_afloat)
    raise AssertionError("retrying ends by an answer or an error")


def to_txn(transaction: AnyTransaction, *, fenced: bool = True, guarded: bool = True) -> Txn:
    """The etcd transaction. On failure it answers with the fence's key, then each object.

    `fenced` and `guarded` exist for the mutation tests, which switch a guard off and must then
    catch the damage; nothing in the product passes them.
    """
    compares: list[Compare] = []
    success: list[Op] = []
    failure: list[Op] = []
    fence = transaction.fence
    stamp = Stamp(transaction.op, fence)
    if fence:
        failure.append(RangeOp(fence.key))
        if fenced:
            compares.append(Compare(fence.key, Target.CREATE, fence.create_revision))
    for mutation in transaction.mutations:
        if guarded:
            compares.append(Compare(mutation.key, Target.MOD, mutation.base))
        failure.append(RangeOp(mutation.key))
        if isinstance(mutation, Put):
            value = stamp.on(mutation.value, mutation.base)
            success.append(PutOp(mutation.key, value, mutation.lease))
        elif isinstance(mutation, Delete):
            success.append(DeleteOp(mutation.key))
    return Txn(tuple(compares), tuple(success), tuple(failure))


def outcome_of(transaction: AnyTransaction, result: TxnResult, *, resent: bool) -> Outcome:
    """What a definite answer means. `resent`: an earlier copy may have been carried out.

    Only deletes depend on it: a put that was carried out is known by its id, whoever asks.
    """
    revision = result.header.revision
    if result.succeeded:
        return Committed(revision)
    found = [_only(answer) for answer in result.results]
    holder = found.pop(0) if transaction.fence else None
    if won := _won_earlier(transaction, found, revision, resent=resent):
        return Committed(won)
    if transaction.fence and _create_revision(holder) != transaction.fence.create_revision:
        return FenceLost(transaction.fence, revision)
    changed = tuple(
        mutation.key
        for mutation, kv in zip(transaction.mutations, found, strict=True)
        if _mod_revision(kv) != mutation.base
    )
    return Conflict(changed, revision)


def _won_earlier(
    transaction: AnyTransaction, found: Sequence[KeyValue | None], revision: int, *, resent: bool
) -> int | None:
    """The revision at which an earlier copy committed, as far as the objects still tell.

    A transaction of nothing but deletes leaves no id behind: it has won when all are gone.
    """
    pairs = list(zip(transaction.mutations, found, strict=True))
    for mutation, kv in pairs:
        if isinstance(mutation, Put) and kv and stamp_of(kv.value).get("op") == transaction.op:
            return kv.mod_revision
    if not resent:
        return None
    has_put = any(isinstance(mutation, Put) for mutation, _ in pairs)
    deleted = [kv is None for mutation, kv in pairs if isinstance(mutation, Delete)]
    return revision if not has_put and deleted and all(deleted) else None


def _only(answer: OpResult) -> KeyValue | None:
    assert isinstance(answer, RangeResult)
    return answer.kvs[0] if answer.kvs else None


def _mod_revision(kv: KeyValue | None) -> int:
    return kv.mod_revision if kv else 0


def _create_revision(kv: KeyValue | None) -> int:
    return kv.create_revision if kv else 0
