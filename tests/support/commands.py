"""Random requests to a store, as values that mean the same wherever its revisions are.

In a strategy's draw, a revision n > 0 counts back from the newest: 1 is one ahead of it, 2 is the
newest itself. A lease is 0 for none or one of a few ordinals. `concrete` turns both into what
a store takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from store.values import Compare, DeleteOp, Op, PutOp, RangeOp, Relation, Target, Txn

KEYS = ("a", "b", "b/", "c", "é", "\udcff")
RANGE_ENDS = (None, "b", "c", "\0")
GRANTABLE = (1, 2)
NEVER_GRANTED = 3


@dataclass(frozen=True)
class Grant:
    lease: int
    ttl_seconds: int


@dataclass(frozen=True)
class Revoke:
    lease: int


@dataclass(frozen=True)
class Renew:
    lease: int


@dataclass(frozen=True)
class LookUp:
    lease: int


@dataclass(frozen=True)
class Compact:
    revision: int


@dataclass(frozen=True)
class Page:
    """A range in two requests, the second pinned to the first's revision."""

    op: RangeOp


@dataclass(frozen=True)
class Follow:
    """Open a watch; what it has seen is compared at the end."""

    key: str
    range_end: str | None
    revision: int


Command = Txn | RangeOp | Page | Grant | Revoke | Renew | LookUp | Compact | Follow


@dataclass(frozen=True)
class Frame:
    """Where a store is now, to make commands concrete by."""

    revision: int
    first_lease: int

    def ago(self, back: int) -> int:
        return max(1, self.revision + 2 - back) if back > 0 else 0

    def lease(self, ordinal: int) -> int:
        return self.first_lease + ordinal if ordinal else 0

    def concrete(self, command: Command) -> Command:
        if isinstance(command, Txn):
            return Txn(
                tuple(map(self._compare, command.compares)),
                tuple(map(self._op, command.success)),
                tuple(map(self._op, command.failure)),
            )
        if isinstance(command, RangeOp | Compact | Follow):
            return replace(command, revision=self.ago(command.revision))
        if isinstance(command, Grant | Revoke | Renew | LookUp):
            return replace(command, lease=self.lease(command.lease))
        return command

    def _op(self, op: Op) -> Op:
        if isinstance(op, PutOp):
            return replace(op, lease=self.lease(op.lease))
        if isinstance(op, RangeOp):
            return replace(op, revision=self.ago(op.revision))
        return op

    def _compare(self, compare: Compare) -> Compare:
        if isinstance(compare.operand, bytes) or compare.target is Target.VERSION:
            return compare
        make: Callable[[int], int] = self.lease if compare.target is Target.LEASE else self.ago
        return replace(compare, operand=make(compare.operand))


keys = st.sampled_from(KEYS)
range_ends = st.sampled_from(RANGE_ENDS)
values = st.sampled_from((b"", b"x", b"y" * 100))
backs = st.integers(0, 8)
leases = st.sampled_from((0, 0, 0, 0, *GRANTABLE, *GRANTABLE, NEVER_GRANTED))

puts = st.builds(PutOp, keys, values, leases)
deletes = st.builds(DeleteOp, keys, range_ends)
ranges = st.builds(
    RangeOp,
    keys,
    range_ends,
    limit=st.integers(0, 3),
    revision=backs | st.just(0),
    keys_only=st.booleans(),
    count_only=st.booleans(),
)
guards = st.one_of(
    st.builds(
        Compare,
        keys,
        st.sampled_from((Target.MOD, Target.CREATE, Target.VERSION)),
        st.integers(0, 5),
        st.sampled_from(Relation),
    ),
    st.builds(Compare, keys, st.just(Target.VALUE), values, st.sampled_from(Relation)),
    st.builds(Compare, keys, st.just(Target.LEASE), leases, st.sampled_from(Relation)),
)


def branches() -> st.SearchStrategy[tuple[Op, ...]]:
    return st.lists(puts | deletes | ranges, max_size=3).map(tuple)


def transactions() -> st.SearchStrategy[Txn]:
    guarded = st.builds(Txn, st.lists(guards, max_size=2).map(tuple), branches(), branches())
    single = (puts | deletes).map(lambda op: Txn((), (op,)))
    return single | guarded


def lease_commands() -> st.SearchStrategy[Command]:
    ordinals = st.sampled_from((*GRANTABLE, *GRANTABLE, NEVER_GRANTED))
    return st.one_of(
        st.builds(Grant, st.sampled_from(GRANTABLE), st.sampled_from((1000, 10**10))),
        st.builds(Revoke, ordinals),
        st.builds(Renew, ordinals),
        st.builds(LookUp, ordinals),
    )


def commands() -> st.SearchStrategy[Command]:
    pages = st.builds(Page, st.builds(RangeOp, keys, range_ends, limit=st.integers(1, 2)))
    return st.one_of(
        transactions(),
        transactions(),
        ranges,
        pages,
        lease_commands(),
        st.builds(Compact, st.integers(1, 8)),
    )


def follows() -> st.SearchStrategy[Command]:
    """Not of an empty range: etcd refuses to watch that."""
    follow = st.builds(Follow, keys, range_ends, backs)
    return follow.filter(lambda f: f.range_end in {None, "\0"} or f.range_end > f.key)


def programs(*, min_size: int, max_size: int) -> st.SearchStrategy[list[Command]]:
    """Commands that find something to work on: the leases are there, and some keys."""
    start: list[Command] = [Grant(lease, 1000) for lease in GRANTABLE]
    start += [Txn((), (PutOp(key, b"", lease),)) for key, lease in (("a", 1), ("b", 2), ("é", 0))]
    return st.lists(commands(), min_size=min_size, max_size=max_size).map(lambda rest: start + rest)
