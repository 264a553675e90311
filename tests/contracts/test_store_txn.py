"""What every `Store` promises about transactions and their guards."""

from __future__ import annotations

import pytest

from store.errors import Invalid, LeaseNotFound
from store.protocol import Store
from store.values import (
    Compare,
    DeleteOp,
    DeleteResult,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    Relation,
    Target,
    Txn,
    prefix_end,
)
from tests.support.stores import get, keys_of, put, revision_of, send

ABSENT_LEASE = 4_242_424_242


@pytest.mark.parametrize(
    ("target", "equal_to"),
    [
        (Target.VERSION, 2),
        (Target.CREATE, "created"),
        (Target.MOD, "modified"),
        (Target.VALUE, b"m"),
        (Target.LEASE, 0),
    ],
)
async def test_guards_compare_what_is_there_with_the_operand(
    store: Store, prefix: str, target: Target, equal_to: int | bytes | str
) -> None:
    created = await put(store, prefix + "a")
    modified = await put(store, prefix + "a", b"m")
    operand = {"created": created, "modified": modified}.get(str(equal_to), equal_to)
    assert not isinstance(operand, str)
    below: int | bytes = b"l" if isinstance(operand, bytes) else operand - 1
    above: int | bytes = b"n" if isinstance(operand, bytes) else operand + 1

    async def holds(relation: Relation, compared: int | bytes) -> bool:
        guard = Compare(prefix + "a", target, compared, relation)
        return (await send(store, compares=[guard])).succeeded

    for compared in (below, operand, above):
        assert await holds(Relation.EQUAL, compared) == (compared == operand)
        assert await holds(Relation.NOT_EQUAL, compared) == (compared != operand)
        assert await holds(Relation.GREATER, compared) == (compared == below)
        assert await holds(Relation.LESS, compared) == (compared == above)


@pytest.mark.parametrize("target", [Target.VERSION, Target.CREATE, Target.MOD, Target.LEASE])
async def test_an_absent_key_counts_as_zero(store: Store, prefix: str, target: Target) -> None:
    zero = Compare(prefix + "none", target, 0)
    more = Compare(prefix + "none", target, 0, Relation.GREATER)

    assert (await send(store, compares=[zero])).succeeded
    assert not (await send(store, compares=[more])).succeeded


@pytest.mark.parametrize("relation", Relation)
async def test_no_guard_on_the_value_of_an_absent_key_holds(
    store: Store, prefix: str, relation: Relation
) -> None:
    guard = Compare(prefix + "none", Target.VALUE, b"", relation)

    assert not (await send(store, compares=[guard])).succeeded


async def test_all_guards_must_hold_or_the_other_branch_is_taken(store: Store, prefix: str) -> None:
    at = await put(store, prefix + "a", b"here")
    guards = [Compare(prefix + "a", Target.MOD, at), Compare(prefix + "b", Target.CREATE, 7)]

    result = await send(
        store, PutOp(prefix + "a", b"wrong"), compares=guards, failure=[RangeOp(prefix + "a")]
    )

    assert not result.succeeded
    (found,) = result.results
    assert isinstance(found, RangeResult)
    assert found.kvs[0].value == b"here"
    assert result.header.revision == at, "a branch that only reads makes no revision"


async def test_a_transaction_is_one_revision(store: Store, prefix: str) -> None:
    before = await put(store, prefix + "old")

    result = await send(
        store, PutOp(prefix + "a", b""), PutOp(prefix + "b", b""), DeleteOp(prefix + "old")
    )

    assert result.succeeded
    assert result.results == (PutResult(), PutResult(), DeleteResult(1))
    assert result.header.revision == before + 1
    for name in "ab":
        kv = await get(store, prefix + name)
        assert kv
        assert kv.mod_revision == kv.create_revision == before + 1


async def test_a_read_in_a_transaction_sees_what_stands_before_it(
    store: Store, prefix: str
) -> None:
    whole = RangeOp(prefix, prefix_end(prefix))
    await put(store, prefix + "a")

    result = await send(
        store, whole, PutOp(prefix + "b", b""), whole, DeleteOp(prefix + "a"), whole
    )

    seen = [
        [kv.key.removeprefix(prefix) for kv in answer.kvs]
        for answer in result.results
        if isinstance(answer, RangeResult)
    ]
    assert seen == [["a"], ["a", "b"], ["b"]]


async def test_a_transaction_can_read_the_past(store: Store, prefix: str) -> None:
    first = await put(store, prefix + "a", b"1")
    await put(store, prefix + "a", b"2")

    result = await send(store, RangeOp(prefix + "a", revision=first))

    (then,) = result.results
    assert isinstance(then, RangeResult)
    assert then.kvs[0].value == b"1"


async def test_deleting_nothing_makes_no_revision(store: Store, prefix: str) -> None:
    before = await revision_of(store)

    result = await send(store, DeleteOp(prefix, prefix_end(prefix)), DeleteOp(prefix + "a"))

    assert result.results == (DeleteResult(0), DeleteResult(0))
    assert result.header.revision == before


async def test_a_range_of_keys_is_deleted_at_once(store: Store, prefix: str) -> None:
    for name in "abcd":
        await put(store, prefix + name)

    result = await send(store, DeleteOp(prefix + "b", prefix + "d"))

    assert result.results == (DeleteResult(2),)
    assert await keys_of(store, prefix) == ["a", "d"]


async def test_an_empty_transaction_succeeds(store: Store) -> None:
    result = await send(store)

    assert (result.succeeded, result.results) == (True, ())


async def test_no_key_is_changed_twice_in_one_branch(store: Store, prefix: str) -> None:
    a = prefix + "a"
    twice: list[tuple[Op, ...]] = [
        (PutOp(a, b"1"), PutOp(a, b"2")),
        (PutOp(a, b"1"), DeleteOp(a)),
        (DeleteOp(a), PutOp(a, b"1")),
        (DeleteOp(prefix, prefix_end(prefix)), PutOp(a, b"1")),
    ]
    for branch in twice:
        with pytest.raises(Invalid):
            await store.txn(Txn((), branch))
        with pytest.raises(Invalid):
            await store.txn(Txn((), (), branch))
    assert await get(store, a) is None


async def test_deletes_may_overlap_and_branches_may_repeat_each_other(
    store: Store, prefix: str
) -> None:
    a = prefix + "a"
    await put(store, a)

    overlapping = await send(store, DeleteOp(prefix, prefix_end(prefix)), DeleteOp(a))
    repeated = await send(store, PutOp(a, b"1"), failure=[PutOp(a, b"2")])

    assert overlapping.results == (DeleteResult(1), DeleteResult(0))
    assert repeated.succeeded


async def test_each_part_of_a_transaction_holds_128_operations(store: Store, prefix: str) -> None:
    keys = [f"{prefix}{index}" for index in range(129)]
    guards = tuple(Compare(key, Target.MOD, 0) for key in keys)
    puts = tuple(PutOp(key, b"") for key in keys)
    gets = tuple(RangeOp(key) for key in keys)

    assert (await store.txn(Txn(guards[:128], puts[:128], gets[:128]))).succeeded
    for too_many in (Txn(guards), Txn((), puts), Txn((), (), gets)):
        with pytest.raises(Invalid):
            await store.txn(too_many)


async def test_a_request_is_at_most_a_megabyte_and_a_half(store: Store, prefix: str) -> None:
    await put(store, prefix + "a", b"x" * 1_500_000)

    with pytest.raises(Invalid):
        await put(store, prefix + "b", b"x" * 1_600_000)
    with pytest.raises(Invalid):
        await put(store, prefix + "b", b"x" * 3_000_000)


async def test_a_put_on_an_unknown_lease_undoes_its_whole_transaction(
    store: Store, prefix: str
) -> None:
    before = await revision_of(store)

    with pytest.raises(LeaseNotFound):
        await send(store, PutOp(prefix + "a", b""), PutOp(prefix + "b", b"", ABSENT_LEASE))

    assert await keys_of(store, prefix) == []
    assert await revision_of(store) == before


async def test_the_lease_of_a_branch_not_taken_does_not_matter(store: Store, prefix: str) -> None:
    result = await send(store, failure=[PutOp(prefix + "a", b"", ABSENT_LEASE)])

    assert result.succeeded
