"""Guarded writes: the stamp, the guards, what an answer means, and how many fit together."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from itertools import chain, count
from typing import Any

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.commit import commit, send, to_txn
from store.errors import (
    Invalid,
    LeaseNotFound,
    NoSpace,
    OutcomeUnknown,
    Unavailable,
    UnguardedMutation,
)
from store.memory.cluster import MemoryCluster
from store.memory.meanness import LOST_REPLY, LOST_REQUEST, REFUSED, Meanness, late
from store.memory.store import MemoryStore
from store.patience import Patience
from store.stamps import stamp_of, stamped
from store.transactions import (
    MAX_BYTES,
    MAX_OPS,
    AnyTransaction,
    Check,
    Committed,
    Conflict,
    Delete,
    Fence,
    FenceLost,
    Leadership,
    Mutation,
    Outcome,
    Put,
    Transaction,
    batched,
)
from store.values import Compare, DeleteOp, PutOp, RangeOp, Target, Txn, TxnResult
from tests.support.memory import memory_cluster
from tests.support.stores import delete, get, put

FENCE = Fence("/leader", 7)


def test_a_stamp_is_the_last_member_of_the_value() -> None:
    value = stamped(b'{"name": "web"}', op="x1", base=12, fence=FENCE)

    assert json.loads(value) == {"name": "web", "write": {"epoch": 7, "base": 12, "op": "x1"}}
    assert list(json.loads(value)) == ["name", "write"]


@pytest.mark.parametrize("value", [b"{}", b"{ }", b'{"a": {}}', b'{\n  "a": 1\n}', b'{"a":[{}]}'])
def test_any_object_can_be_stamped(value: bytes) -> None:
    record = json.loads(stamped(value, op="x", base=0, fence=None))

    assert record.pop("write") == {"base": 0, "op": "x"}
    assert record == json.loads(value)


@pytest.mark.parametrize("value", [b"", b"[]", b'"text"', b"12", b"{", b" {}"])
def test_what_is_no_object_cannot_be_stamped(value: bytes) -> None:
    with pytest.raises(UnguardedMutation):
        stamped(value, op="x", base=0, fence=None)


def test_a_stamp_is_read_back() -> None:
    value = stamped(b'{"a": 1}', op="x", base=3, fence=FENCE)

    assert stamp_of(value) == {"epoch": 7, "base": 3, "op": "x"}


@pytest.mark.parametrize("value", [b"", b"no JSON", b"\xff", b"[]", b"{}", b'{"write": 1}', b"1"])
def test_what_a_stranger_wrote_has_no_stamp(value: bytes) -> None:
    assert stamp_of(value) == {}


def test_a_transaction_without_guards_cannot_be_made() -> None:
    with pytest.raises(UnguardedMutation):
        Delete("/a", 0)
    with pytest.raises(UnguardedMutation):
        Transaction((), "x", FENCE)
    with pytest.raises(UnguardedMutation):
        Transaction((Put("/a", b"{}", 0), Check("/a", 3)), "x", None)


def test_every_mutation_is_guarded_by_its_base_and_by_the_fence() -> None:
    txn = to_txn(Transaction((Put("/a", b"{}", 0, 9), Delete("/b", 5), Check("/c", 6)), "x", FENCE))

    assert txn.compares == (
        Compare("/leader", Target.CREATE, 7),
        Compare("/a", Target.MOD, 0),
        Compare("/b", Target.MOD, 5),
        Compare("/c", Target.MOD, 6),
    )
    assert txn.success == (
        PutOp("/a", stamped(b"{}", op="x", base=0, fence=FENCE), 9),
        DeleteOp("/b"),
    )
    assert txn.failure == ()


def test_a_transaction_that_writes_nothing_asks_for_the_newest_state() -> None:
    txn = to_txn(Transaction((Check("/a", 5), Check("/b", 0)), "x", FENCE))

    assert txn.success == ()
    assert txn.failure == tuple(map(RangeOp, ("/leader", "/a", "/b")))


def test_leadership_is_a_fence_whose_revision_is_the_epoch() -> None:
    assert Leadership("/leader", 7).epoch == 7


async def answered(memory: MemoryCluster, transaction: AnyTransaction, *, resent: bool) -> Outcome:
    """What the store's answer to one copy means."""
    return await send(memory.connect("client"), transaction, to_txn(transaction), resent=resent)


@in_virtual_time
async def test_success_is_committed_at_the_revision_of_all_it_put() -> None:
    memory = memory_cluster()
    outcome = await answered(memory, created("/a", "/b"), resent=False)

    assert isinstance(outcome, Committed)
    for key in ("/a", "/b"):
        kv = await get(memory.connect("client"), key)
        assert kv
        assert kv.mod_revision == outcome.revision


@in_virtual_time
async def test_a_conflict_names_those_that_changed_and_where_to_look_again() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    same = await put(store, "/same")
    changed = await put(store, "/changed")
    gone = await put(store, "/gone")
    await put(store, "/changed")
    now = await delete(store, "/gone")
    mutations = (
        *(Put("/same", b"{}", same), Delete("/changed", changed), Check("/gone", gone)),
        Put("/absent", b"{}", 0),
    )

    outcome = await answered(memory, Transaction(mutations, "x", None), resent=False)

    assert outcome == Conflict(("/changed", "/gone"), now)


@in_virtual_time
async def test_a_lost_fence_counts_for_more_than_a_conflict() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    fence = Fence("/leader", await put(store, "/leader"))
    await delete(store, "/leader")
    now = await put(store, "/a")

    assert await answered(memory, created("/a", fence=fence), resent=False) == FenceLost(fence, now)
    await put(store, "/leader")
    assert await answered(memory, created("/b", fence=fence), resent=False) == FenceLost(
        fence, now + 1
    )


@pytest.mark.parametrize("resent", [False, True])
@in_virtual_time
async def test_who_finds_his_own_id_has_won_already_even_if_the_fence_is_lost(
    resent: bool,
) -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    fence = Fence("/leader", await put(store, "/leader"))
    transaction = created("/a", "/b", fence=fence)
    first = await answered(memory, transaction, resent=False)
    await put(store, "/a", b"{}")
    await delete(store, "/leader")

    assert await answered(memory, transaction, resent=resent) == first


@in_virtual_time
async def test_deletes_that_were_resent_have_won_when_all_is_gone() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    deletes = [Delete(key, await put(store, key)) for key in ("/a", "/b")]
    transaction = Transaction(tuple(deletes), "x", None)
    await answered(memory, transaction, resent=False)

    assert isinstance(await answered(memory, transaction, resent=True), Committed)
    assert isinstance(await answered(memory, transaction, resent=False), Conflict)


class Interrupted:
    """A store where something happens between a transaction and the reads that follow it."""

    def __init__(self, store: MemoryStore, *happenings: Callable[[], Awaitable[object]]) -> None:
        self.transactions = 0
        self._store = store
        self._happenings = list(happenings)

    async def txn(self, txn: Txn) -> TxnResult:
        if txn.compares:
            self.transactions += 1
        elif self._happenings:
            await self._happenings.pop(0)()
        return await self._store.txn(txn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@in_virtual_time
async def test_a_conflict_is_told_as_it_was_met_whatever_has_happened_since() -> None:
    memory = memory_cluster()
    people = memory.connect("people")
    met = await put(people, "/a")

    async def remove() -> None:
        await delete(people, "/a")
        await put(people, "/b")

    store: Any = Interrupted(memory.connect("client"), remove)
    outcome = await commit(store, created("/a", "/b"), patience())

    assert (outcome, store.transactions) == (Conflict(("/a",), met), 1)


@in_virtual_time
async def test_what_has_met_with_something_that_is_history_by_now_is_sent_again() -> None:
    memory = memory_cluster()
    people = memory.connect("people")
    await put(people, "/a")

    async def compact() -> None:
        await people.compact(await put(people, "/c"))

    async def refuse() -> None:
        raise Unavailable("not now")

    store: Any = Interrupted(memory.connect("client"), compact, refuse)
    outcome = await commit(store, created("/a"), patience())

    assert isinstance(outcome, Conflict)
    assert store.transactions == 3


@in_virtual_time
async def test_nothing_is_known_when_a_copy_is_afloat_and_the_next_one_cannot_be_judged() -> None:
    memory = memory_cluster()
    await put(memory.connect("people"), "/a")

    async def refuse() -> None:
        raise Unavailable("not now")

    store: Any = Interrupted(memory.connect("client"), refuse)
    memory.link("client").luck.arrange(LOST_REQUEST)
    with pytest.raises(OutcomeUnknown):
        await commit(store, created("/a"), patience(0.01))
    store = Interrupted(memory.connect("client"), refuse)
    with pytest.raises(Unavailable):
        await commit(store, created("/a"), patience(0.0))


def created(*keys: str, fence: Fence | None = None, lease: int = 0) -> AnyTransaction:
    return Transaction(tuple(Put(key, b"{}", 0, lease) for key in keys), "x", fence)


def patience(limit_seconds: float = 30.0) -> Patience:
    return Patience(virtual_now, random.Random(1), limit_seconds)


@in_virtual_time
async def test_a_commit_whose_answer_is_lost_is_recognised_when_it_is_sent_again() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(LOST_REPLY, REFUSED, LOST_REQUEST)

    outcome = await commit(store, created("/a"), patience())

    kv = await get(store, "/a")
    assert kv
    assert (outcome, kv.version) == (Committed(kv.mod_revision), 1)


@in_virtual_time
async def test_a_late_copy_does_not_undo_what_came_after() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.link("client").luck.arrange(late(5.0))
    first = await commit(store, created("/a"), patience())
    assert isinstance(first, Committed)
    newer = Transaction((Put("/a", b'{"newer": 1}', first.revision),), "y", None)
    second = await commit(store, newer, patience())
    assert virtual_now() < 5.0

    await asyncio.sleep(10.0)

    kv = await get(store, "/a")
    assert kv
    assert second == Committed(kv.mod_revision)


@in_virtual_time
async def test_when_patience_ends_it_says_whether_a_copy_may_still_be_carried_out() -> None:
    refusing = memory_cluster(Meanness(refused=1.0))
    with pytest.raises(Unavailable):
        await commit(refusing.connect("client"), created("/a"), patience())

    refusing.link("client").luck.arrange(LOST_REQUEST)
    with pytest.raises(OutcomeUnknown):
        await commit(refusing.connect("client"), created("/a"), patience())
    assert virtual_now() >= 60.0


@in_virtual_time
async def test_refusals_pass_through_at_once() -> None:
    store = memory_cluster().connect("client")

    with pytest.raises(LeaseNotFound):
        await commit(store, created("/a", lease=4), patience())
    assert virtual_now() == 0.0


@in_virtual_time
async def test_no_space_is_a_refusal_unless_a_copy_is_afloat() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    memory.engine.quota.raise_alarm()
    with pytest.raises(NoSpace):
        await commit(store, created("/a"), patience())

    memory.link("client").luck.arrange(LOST_REPLY)
    with pytest.raises(OutcomeUnknown):
        await commit(store, created("/a"), patience())


def numbered(prefix: str, size: int, value: bytes = b"{}") -> list[Mutation]:
    return [Put(f"{prefix}/{index}", value, 0) for index in range(size)]


def batch_sizes(groups: list[list[Mutation]], fence: Fence | None = None) -> list[int]:
    ids = count()
    batches = list(batched(groups, fence, lambda: f"op-{next(ids)}"))
    assert [mutation for batch in batches for mutation in batch.mutations] == list(chain(*groups))
    assert len({batch.op for batch in batches}) == len(batches)
    assert {batch.fence for batch in batches} <= {fence}
    return [len(batch.mutations) for batch in batches]


def test_groups_are_packed_up_to_etcds_limit_of_operations() -> None:
    singles = [[mutation] for mutation in numbered("/a", 300)]

    assert batch_sizes([]) == []
    assert batch_sizes(singles) == [128, 128, 44]
    assert batch_sizes(singles, FENCE) == [127, 127, 46]


def test_a_group_is_never_split() -> None:
    groups = [numbered(f"/{index}", 50) for index in range(5)]

    assert batch_sizes(groups) == [100, 100, 50]


def test_groups_are_packed_up_to_etcds_limit_of_bytes() -> None:
    large = [[mutation] for mutation in numbered("/a", 5, b'{"x":"' + b"x" * 400_000 + b'"}')]

    assert batch_sizes(large) == [2, 2, 1]


@pytest.mark.parametrize(
    "group",
    [numbered("/a", MAX_OPS + 1), numbered("/a", 1, b"{" + b" " * MAX_BYTES + b"}")],
)
def test_a_group_that_cannot_happen_together_is_refused(group: list[Mutation]) -> None:
    with pytest.raises(Invalid, match="must happen together"):
        batch_sizes([group])


@in_virtual_time
async def test_the_largest_batches_are_accepted() -> None:
    memory = memory_cluster()
    store = memory.connect("client")
    fence = Fence("/leader", await put(store, "/leader"))
    many = numbered("/many", MAX_OPS - 1)
    large = numbered("/large", 2, b'{"x":"' + b"x" * 499_000 + b'"}')

    for transaction in batched([many, large], fence, iter(("x", "y")).__next__):
        assert isinstance(await commit(store, transaction, patience()), Committed)
