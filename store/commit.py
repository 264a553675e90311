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

*What a failed copy has met* is read at the revision of its answer: the very state that its guards
were held against, however late it is read. The transaction itself asks for nothing, as the question
would travel, and be logged by every member, with each that succeeds: a tenth of etcd's work.
One that writes nothing still asks: without any request etcd would answer it from one member's past.

*Rejected:* reading after a timeout to learn what happened (the write may land after the read);
retries in the channel (they hide which copy won).
"""

from __future__ import annotations

from collections.abc import Sequence

from store.errors import Compacted, FutureRevision, NoSpace, OutcomeUnknown, Unavailable
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
                return await send(store, transaction, txn, resent=copies_afloat)
            except OutcomeUnknown:
                copies_afloat = True
                raise
            except (Unavailable, NoSpace) as refusal:
                if copies_afloat:
                    raise OutcomeUnknown(str(refusal)) from refusal
                raise
    raise AssertionError("retrying ends by an answer or an error")


async def send(store: Store, transaction: AnyTransaction, txn: Txn, *, resent: bool) -> Outcome:
    """One copy, and what its answer means. `resent`: an earlier one may have been carried out.

    `Unavailable` may mean that it has failed, and nobody can tell by what: send it again.
    """
    result = await store.txn(txn)
    if result.succeeded:
        return Committed(result.header.revision)
    found = result.results or await _read_at(store, transaction, result.header.revision)
    return outcome_of(transaction, found, result.header.revision, resent=resent)


async def _read_at(
    store: Store, transaction: AnyTransaction, revision: int
) -> tuple[OpResult, ...]:
    try:
        return (await store.txn(Txn(success=_reads_of(transaction, revision)))).results
    except (Compacted, FutureRevision) as error:
        raise Unavailable(f"what stands in a transaction's way cannot be read: {error}") from error


def _reads_of(transaction: AnyTransaction, revision: int = 0) -> tuple[RangeOp, ...]:
    """The fence's key if there is one, then each object."""
    fence = (transaction.fence.key,) if transaction.fence else ()
    keys = (*fence, *(mutation.key for mutation in transaction.mutations))
    return tuple(RangeOp(key, revision=revision) for key in keys)


def to_txn(transaction: AnyTransaction, *, fenced: bool = True, guarded: bool = True) -> Txn:
    """The etcd transaction. On failure it answers nothing, unless it writes nothing.

    `fenced` and `guarded` exist for the mutation tests, which switch a guard off and must then
    catch the damage; nothing in the product passes them.
    """
    compares: list[Compare] = []
    success: list[Op] = []
    fence = transaction.fence
    stamp = Stamp(transaction.op, fence)
    if fence and fenced:
        compares.append(Compare(fence.key, Target.CREATE, fence.create_revision))
    for mutation in transaction.mutations:
        if guarded:
            compares.append(Compare(mutation.key, Target.MOD, mutation.base))
        if isinstance(mutation, Put):
            value = stamp.on(mutation.value, mutation.base)
            success.append(PutOp(mutation.key, value, mutation.lease))
        elif isinstance(mutation, Delete):
            success.append(DeleteOp(mutation.key))
    failure = () if success else _reads_of(transaction)
    return Txn(tuple(compares), tuple(success), failure)


def outcome_of(
    transaction: AnyTransaction, answers: Sequence[OpResult], revision: int, *, resent: bool
) -> Outcome:
    """What a failed transaction has met: the fence's key and each object, as of `revision`.

    Only deletes depend on `resent`: a put that was carried out is known by its id, whoever asks.
    """
    found = [_only(answer) for answer in answers]
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
