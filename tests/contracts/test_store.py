"""What every `Store` promises about keys, ranges and compaction."""

from __future__ import annotations

import pytest

from store.errors import Compacted, FutureRevision, Invalid
from store.protocol import Store
from store.values import (
    Compare,
    DeleteOp,
    PutOp,
    RangeOp,
    Target,
    prefix_end,
)
from tests.contracts.conftest import StoreFactory
from tests.support.stores import delete, get, keys_of, put, revision_of, send

ABSENT_LEASE = 4_242_424_242


async def test_a_key_that_never_was_is_an_empty_range(store: Store, prefix: str) -> None:
    result = await store.range(RangeOp(prefix + "nothing"))

    assert (result.kvs, result.count, result.more) == ((), 0, False)


async def test_what_was_put_is_there_with_its_revisions(store: Store, prefix: str) -> None:
    first = await put(store, prefix + "a", b"1")
    second = await put(store, prefix + "a", b"2")
    kv = await get(store, prefix + "a")

    assert second == first + 1
    assert kv
    assert (kv.key, kv.value, kv.lease) == (prefix + "a", b"2", 0)
    assert (kv.create_revision, kv.mod_revision, kv.version) == (first, second, 2)


async def test_a_key_that_is_made_again_begins_anew(store: Store, prefix: str) -> None:
    await put(store, prefix + "a")
    await delete(store, prefix + "a")
    again = await put(store, prefix + "a", b"new")
    kv = await get(store, prefix + "a")

    assert kv
    assert (kv.create_revision, kv.mod_revision, kv.version) == (again, again, 1)


async def test_all_clients_see_one_store(store_factory: StoreFactory, prefix: str) -> None:
    writer, reader = await store_factory(), await store_factory()

    await put(writer, prefix + "a", b"1")
    kv = await get(reader, prefix + "a")

    assert kv
    assert kv.value == b"1"


async def test_keys_come_in_byte_order_even_those_that_are_no_text(
    store: Store, prefix: str
) -> None:
    foreign = [b"\xff".decode(errors="surrogateescape"), b"\x80".decode(errors="surrogateescape")]
    names = ["b", "a", "a/b", "", "\0", "é", "\ue000", "\U0001f600", *foreign]
    for name in names:
        await put(store, prefix + name)

    def in_bytes(name: str) -> bytes:
        return name.encode(errors="surrogateescape")

    assert await keys_of(store, prefix) == sorted(names, key=in_bytes)


async def test_a_range_ends_before_its_end(store: Store, prefix: str) -> None:
    for name in "abcd":
        await put(store, prefix + name)

    result = await store.range(RangeOp(prefix + "b", prefix + "d"))
    nothing = await store.range(RangeOp(prefix + "d", prefix + "b"))

    assert [kv.key for kv in result.kvs] == [prefix + "b", prefix + "c"]
    assert nothing.count == 0


async def test_nul_is_the_end_of_the_key_space(store: Store, prefix: str) -> None:
    last = "\U0010ffff" + prefix
    await put(store, last)

    to_the_end = await store.range(RangeOp("\U0010ffff", "\0", keys_only=True))

    assert last in [kv.key for kv in to_the_end.kvs]
    assert (await store.range(RangeOp("\0", "\0", count_only=True))).count >= to_the_end.count
    await delete(store, last)


async def test_a_limit_cuts_and_says_so(store: Store, prefix: str) -> None:
    for name in "abc":
        await put(store, prefix + name)

    cut = await store.range(RangeOp(prefix, prefix_end(prefix), limit=2))
    whole = await store.range(RangeOp(prefix, prefix_end(prefix), limit=3))

    assert [kv.key for kv in cut.kvs] == [prefix + "a", prefix + "b"]
    assert (cut.more, cut.count) == (True, 3)
    assert (len(whole.kvs), whole.more, whole.count) == (3, False, 3)


async def test_keys_without_values_and_counts_without_keys(store: Store, prefix: str) -> None:
    revision = await put(store, prefix + "a", b"value")

    (key,) = (await store.range(RangeOp(prefix, prefix_end(prefix), keys_only=True))).kvs
    count = await store.range(RangeOp(prefix, prefix_end(prefix), count_only=True))

    assert (key.value, key.mod_revision, key.version) == (b"", revision, 1)
    assert (count.kvs, count.count, count.more) == ((), 1, False)


async def test_a_serializable_range_answers_too(store: Store, prefix: str) -> None:
    await put(store, prefix + "a")

    result = await store.range(RangeOp(prefix + "a", serializable=True))

    assert result.count == 1


async def test_the_past_stays_as_it_was(store: Store, prefix: str) -> None:
    first = await put(store, prefix + "a", b"1")
    await put(store, prefix + "b", b"2")
    await put(store, prefix + "a", b"3")
    gone = await delete(store, prefix + "a")

    then = await get(store, prefix + "a", first)
    assert then
    assert (then.value, then.version) == (b"1", 1)
    assert await keys_of(store, prefix, first) == ["a"]
    assert await keys_of(store, prefix, gone - 1) == ["a", "b"]
    assert await keys_of(store, prefix, gone) == ["b"]


async def test_pages_of_one_revision_ignore_what_is_written_meanwhile(
    store: Store, prefix: str
) -> None:
    for index in range(5):
        await put(store, f"{prefix}{index}")

    first = await store.range(RangeOp(prefix, prefix_end(prefix), limit=2))
    await delete(store, prefix + "3")
    await put(store, prefix + "9")
    rest = await store.range(
        RangeOp(first.kvs[-1].key + "\0", prefix_end(prefix), revision=first.header.revision)
    )

    assert [kv.key.removeprefix(prefix) for kv in (*first.kvs, *rest.kvs)] == list("01234")
    assert rest.header.revision == first.header.revision + 2, "the header tells of now"


async def test_a_revision_to_come_is_refused(store: Store, prefix: str) -> None:
    now = await revision_of(store)

    with pytest.raises(FutureRevision):
        await get(store, prefix + "a", now + 1)
    with pytest.raises(FutureRevision):
        await send(store, RangeOp(prefix + "a", revision=now + 1))


async def test_an_empty_key_is_refused(store: Store) -> None:
    with pytest.raises(Invalid):
        await store.range(RangeOp(""))
    with pytest.raises(Invalid):
        await send(store, PutOp("", b""))
    with pytest.raises(Invalid):
        await send(store, DeleteOp(""))
    with pytest.raises(Invalid):
        await send(store, compares=[Compare("", Target.MOD, 0)])


async def test_the_header_says_who_and_when(store_factory: StoreFactory, prefix: str) -> None:
    one, other = await store_factory(), await store_factory()

    before = (await one.range(RangeOp(prefix))).header
    written = (await send(other, PutOp(prefix + "a", b""))).header

    assert before.cluster_id == written.cluster_id != 0
    assert before.member_id == written.member_id != 0
    assert before.raft_term == written.raft_term > 0
    assert written.revision == before.revision + 1


async def test_compaction_forgets_what_came_before(store: Store, prefix: str) -> None:
    old = await put(store, prefix + "a", b"1")
    at = await put(store, prefix + "b", b"2")
    await put(store, prefix + "a", b"3")

    await store.compact(at)

    assert await keys_of(store, prefix, at) == ["a", "b"]
    then = await get(store, prefix + "a", at)
    assert then
    assert then.value == b"1"
    with pytest.raises(Compacted):
        await get(store, prefix + "a", old)
    with pytest.raises(Compacted):
        await send(store, RangeOp(prefix + "a", revision=old))


async def test_a_member_can_be_asked_to_compact_and_to_be_done_with_it(
    store: Store, prefix: str
) -> None:
    old = await put(store, prefix + "a", b"1")
    at = await put(store, prefix + "a", b"2")
    member = (await store.members())[0].endpoint

    await store.compact(at, member=member)

    with pytest.raises(Compacted):
        await get(store, prefix + "a", old)
    with pytest.raises(Compacted):
        await store.compact(at, member=member)


async def test_compaction_moves_forward_only_and_not_ahead(store: Store, prefix: str) -> None:
    at = await put(store, prefix + "a")
    await store.compact(at)

    with pytest.raises(Compacted):
        await store.compact(at)
    with pytest.raises(Compacted):
        await store.compact(at - 1)
    with pytest.raises(FutureRevision):
        await store.compact(at + 1)


async def test_compacting_away_a_deleted_key_lets_it_begin_anew(store: Store, prefix: str) -> None:
    await put(store, prefix + "a")
    await delete(store, prefix + "a")
    await store.compact(await put(store, prefix + "b"))

    created = await put(store, prefix + "a")
    kv = await get(store, prefix + "a")

    assert kv
    assert (kv.create_revision, kv.version) == (created, 1)
