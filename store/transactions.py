"""Guarded writes: the only way anything above this package changes the store.

Theory of operation
-------------------
*Two guards.* A compare on the leader's key alone loses: a write that was given up on can commit
after a newer one by the same leader (measured: in 8 to 17 of 40 tries, on every etcd). A compare
on the object alone loses too: a leader that was paused for longer than its lease still holds
yesterday's revisions of objects that nobody touched since. So every mutation names the
`mod_revision` it was computed from (`base`; 0: must not exist), and every write of a role that
can be superseded carries a `Fence`: the `create_revision` of that role's key.

*One answer.* A timeout or a broken connection says nothing about the outcome: the write may
have happened, or may yet happen. `commit` resends the very same transaction until the store
gives a definite answer. Because of the guards a second execution is impossible (but see
"Strays"), and because each put carries the transaction's own operation id, "a guard failed, and
the object carries my id" means that an earlier copy has won: it is done.

*What is not promised.* Once somebody else has overwritten all that a transaction had put, nothing
tells any more that it was done: a resend then says `Conflict`.

*Strays.* "Must not exist" is a guard that can come true twice. A late copy of a transaction that
only creates is carried out again when everything it had created is deleted before it arrives and
its fence still holds. If it also changes or deletes something that is there, it happens once.

*Rejected:* reading after a timeout to learn what happened (the write may land after the read);
retries in the channel (they hide which copy won).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from store.errors import Invalid, NoSpace, OutcomeUnknown, Unavailable, UnguardedMutation
from store.patience import Patience
from store.protocol import Store
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
    hot_value,
)

MAX_OPS = 128
"""etcd's --max-txn-ops: counts each of compares, success and failure by itself."""

MAX_BYTES = 1_000_000
"""Of keys and values in one transaction; etcd refuses requests above 1.5 MiB."""


@hot_value
class Put:
    """Write `value` (a JSON object) to `key`, computed from its revision `base` (0: create)."""

    key: str
    value: bytes
    base: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete `key`, seen at revision `base`."""

    key: str
    base: int

    def __post_init__(self) -> None:
        if self.base <= 0:
            raise UnguardedMutation(f"a delete of {self.key!r} must name the revision it has seen")


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but commit only if `key` is still at revision `base` (0: absent)."""

    key: str
    base: int


Mutation = Put | Delete | Check


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of a role: the role's key and the `create_revision` under which it was won."""

    key: str
    create_revision: int


@dataclass(frozen=True, slots=True)
class Leadership(Fence):
    """Proof of leading. Only `Election.campaign` makes one; what the leader owns is written
    by functions that demand it, so that an unfenced write does not type-check."""

    @property
    def epoch(self) -> int:
        return self.create_revision


@dataclass(frozen=True, slots=True)
class SessionFence(Fence):
    """Proof that a node's session still lives: the agent's own epoch."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Mutations that happen all or not at all, with their guards and their operation id.

    `fence` is None for those who need no role to write: API replicas rely on the object guard.
    """

    mutations: tuple[Mutation, ...]
    op: str
    fence: Fence | None

    def __post_init__(self) -> None:
        keys = [mutation.key for mutation in self.mutations]
        if len(set(keys)) != len(keys):
            raise UnguardedMutation("a transaction names a key twice; etcd would refuse it")
        if not keys:
            raise UnguardedMutation("a transaction without mutations has nothing to guard")


@dataclass(frozen=True, slots=True)
class Committed:
    """Done, at `revision`: the `mod_revision` of everything the transaction put.

    For a commit that was recognised only on a resend it is the revision of that earlier copy.
    """

    revision: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Not done: these objects are not at the revisions named. Look again from `revision` on."""

    keys: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class FenceLost:
    """Not done, and never will be: the role has passed on. Stop everything that relies on it."""

    fence: Fence
    revision: int


Outcome = Committed | Conflict | FenceLost


class Stamp:
    """Who wrote a value and from what: `"write": {"epoch"?, "base", "op"}`, its last member.

    Spliced rather than parsed, and made once for a whole transaction: it is on the path of every
    write. The value must not have a member `write` of its own.
    """

    __slots__ = ("_after", "_before")

    def __init__(self, op: str, fence: Fence | None) -> None:
        epoch = f'"epoch":{fence.create_revision},' if fence else ""
        self._before = f'"write":{{{epoch}"base":'.encode()
        self._after = f',"op":"{op}"}}}}'.encode()

    def on(self, value: bytes, base: int) -> bytes:
        """`value` (a JSON object) with the stamp; raises `UnguardedMutation` for anything else."""
        body = value[:-1].rstrip()
        if value[:1] != b"{" or value[-1:] != b"}":
            raise UnguardedMutation("a stored value must be a JSON object, so that it is stamped")
        comma = b"" if body == b"{" else b","
        return b"%b%b%b%d%b" % (body, comma, self._before, base, self._after)


def stamped(value: bytes, *, op: str, base: int, fence: Fence | None) -> bytes:
    """One value as a transaction would write it."""
    return Stamp(op, fence).on(value, base)


def stamp_of(value: bytes) -> dict[str, Any]:
    """The write stamp of a stored value; empty for what was not written by `commit`."""
    try:
        record = json.loads(value)
    except ValueError:
        return {}
    stamp = record.get("write") if isinstance(record, dict) else None
    return stamp if isinstance(stamp, dict) else {}


def to_txn(transaction: Transaction, *, fenced: bool = True, guarded: bool = True) -> Txn:
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


def outcome_of(transaction: Transaction, result: TxnResult, *, resent: bool) -> Outcome:
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


async def commit(store: Store, transaction: Transaction, patience: Patience) -> Outcome:
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


def batched(
    groups: Iterable[Sequence[Mutation]], fence: Fence | None, new_op: Callable[[], str]
) -> Iterator[Transaction]:
    """Pack `groups` into as few transactions as etcd's limits allow; a group is never split.

    Groups keep their order. Raises `Invalid` for a group that fits no transaction by itself.
    """
    batch: list[Mutation] = []
    batch_bytes = 0
    for group in groups:
        size = sum(_size(mutation) for mutation in group)
        if _ops(group, fence) > MAX_OPS or size > MAX_BYTES:
            raise Invalid(
                f"{len(group)} changes of {size} bytes must happen together, but one transaction"
                f" holds at most {MAX_OPS} operations and {MAX_BYTES} bytes"
            )
        if batch and (_ops([*batch, *group], fence) > MAX_OPS or batch_bytes + size > MAX_BYTES):
            yield Transaction(tuple(batch), new_op(), fence)
            batch, batch_bytes = [], 0
        batch.extend(group)
        batch_bytes += size
    if batch:
        yield Transaction(tuple(batch), new_op(), fence)


def _ops(mutations: Sequence[Mutation], fence: Fence | None) -> int:
    return len(mutations) + (1 if fence else 0)


def _size(mutation: Mutation) -> int:
    return len(mutation.key) + (len(mutation.value) + 128 if isinstance(mutation, Put) else 0)


def _won_earlier(
    transaction: Transaction, found: Sequence[KeyValue | None], revision: int, *, resent: bool
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
