"""The judge of histories is itself tried: on small histories, good and bad."""

from __future__ import annotations

from orchestrator.simulation.history import (
    Entry,
    History,
    Violation,
    blind_overwrites,
    executions,
    gaps,
    repeated_operations,
    unfenced_writes,
)
from store.stamps import stamped
from store.transactions import Fence
from store.values import Event, KeyValue

LEADER = "/leader"


def written(base: int, *, op: str = "op", epoch: int = 0) -> bytes:
    fence = Fence(LEADER, epoch) if epoch else None
    return stamped(b"{}", op=op, base=base, fence=fence)


def revisions_of(violations: list[Violation]) -> list[int]:
    return [violation.revision for violation in violations]


def fenced_by_leader(key: str) -> str | None:
    return None if key == LEADER else LEADER


def test_a_history_knows_what_each_change_replaced() -> None:
    history = History()
    for revision, value in ((2, b"1"), (3, b"2"), (4, None), (5, b"3")):
        kv = KeyValue("/a", value or b"", 0, revision, 0)
        history.record(revision, [Event(kv, is_delete=value is None)])

    assert [entry.previous for entry in history.entries] == [0, 2, 3, 0]


def test_a_revision_that_is_not_there_is_a_gap() -> None:
    entries = [Entry(revision, "/a", b"", 0) for revision in (2, 2, 3, 5)]

    assert revisions_of(gaps(entries)) == [5]
    assert gaps(entries[:3]) == []


def test_a_put_that_was_computed_from_something_else_is_blind() -> None:
    good = [Entry(2, "/a", written(0), 0), Entry(3, "/a", written(2), 2), Entry(4, "/a", None, 3)]

    assert blind_overwrites(good) == []
    assert revisions_of(blind_overwrites([*good, Entry(5, "/a", written(3), 0)])) == [5]


def test_what_a_stranger_wrote_is_no_violation() -> None:
    entries = [Entry(2, "/a", b"not even JSON", 0), Entry(3, "/a", b"[]", 2)]

    assert blind_overwrites(entries) == repeated_operations(entries) == []


def test_a_put_under_yesterdays_epoch_or_under_none_is_unfenced() -> None:
    entries = [
        Entry(2, LEADER, b"", 0),
        Entry(3, "/a", written(0, epoch=2), 0),
        Entry(4, LEADER, None, 2),
        Entry(5, "/a", written(3, epoch=2), 3),
        Entry(6, LEADER, b"", 0),
        Entry(7, "/a", written(5, epoch=2), 5),
        Entry(8, "/a", written(7), 7),
        Entry(9, "/a", written(8, epoch=6), 8),
    ]

    assert revisions_of(unfenced_writes(entries, fenced_by_leader)) == [5, 7, 8]


def test_a_fence_counts_as_it_was_before_the_transaction() -> None:
    entries = [
        Entry(2, LEADER, b"", 0),
        Entry(3, "/a", written(0, epoch=2), 0),
        Entry(3, LEADER, None, 2),
        Entry(3, "/b", written(0, epoch=2), 0),
    ]

    assert unfenced_writes(entries, fenced_by_leader) == []


def test_a_fence_that_is_renewed_keeps_its_epoch() -> None:
    entries = [
        Entry(2, LEADER, b"", 0),
        Entry(3, LEADER, b"again", 2),
        Entry(4, "/a", written(0, epoch=2), 0),
    ]

    assert unfenced_writes(entries, fenced_by_leader) == []


def test_an_operation_is_carried_out_once_however_many_keys_it_writes() -> None:
    once = [Entry(2, "/a", written(0, op="x"), 0), Entry(2, "/b", written(0, op="x"), 0)]
    twice = [*once, Entry(3, "/b", None, 2), Entry(4, "/b", written(0, op="x"), 0)]

    assert executions(once) == {"x": [2]}
    assert repeated_operations(once) == []
    assert revisions_of(repeated_operations(twice)) == [4]
