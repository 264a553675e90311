"""Transactions: what is to happen all or not at all, with the guards that make it safe.

Theory of operation
-------------------
*Two guards.* A compare on the leader's key alone loses: a write that was given up on can commit
after a newer one by the same leader (measured: in 8 to 17 of 40 tries, on every etcd). A compare
on the object alone loses too: a leader that was paused for longer than its lease still holds
yesterday's revisions of objects that nobody touched since. So every mutation names the
`mod_revision` it was computed from (`base`; 0: must not exist), and every write of a role that
can be superseded carries a `Fence`: the `create_revision` of that role's key.

*Which fence is a matter of types.* A `Transaction[Leadership]` was made with the proof of leading,
and `store.commit.commit_as_leader` takes no other. A `Transaction[None]` has no fence.

*Strays.* "Must not exist" is a guard that can come true twice. A late copy of a transaction that
only creates is carried out again when everything it had created is deleted before it arrives and
its fence still holds. If it also changes or deletes something that is there, it happens once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from store.errors import Invalid, UnguardedMutation
from store.values import hot_value

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
    """Proof of leading. Only `Election.campaign` makes one; what the leader owns is written by
    `commit_as_leader`, which demands it, so that an unfenced write does not type-check."""

    @property
    def epoch(self) -> int:
        return self.create_revision


@dataclass(frozen=True, slots=True)
class SessionFence(Fence):
    """Proof that a node's session still lives: the agent's own epoch."""


F = TypeVar("F", bound=Fence | None)
F_co = TypeVar("F_co", bound=Fence | None, covariant=True)


@dataclass(frozen=True, slots=True)
class Transaction(Generic[F_co]):
    """Mutations that happen all or not at all, with their guards and their operation id.

    `fence` is None for those who need no role to write: API replicas rely on the object guard.
    """

    mutations: tuple[Mutation, ...]
    op: str
    fence: F_co

    def __post_init__(self) -> None:
        keys = [mutation.key for mutation in self.mutations]
        if len(set(keys)) != len(keys):
            raise UnguardedMutation("a transaction names a key twice; etcd would refuse it")
        if not keys:
            raise UnguardedMutation("a transaction without mutations has nothing to guard")


AnyTransaction = Transaction[Fence | None]


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


def new_op(rng: random.Random) -> str:
    """An operation id: 96 random bits, so that no two writes ever share one."""
    return f"{rng.getrandbits(96):024x}"


def batched(
    groups: Iterable[Sequence[Mutation]], fence: F, new_op: Callable[[], str]
) -> Iterator[Transaction[F]]:
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
