"""The order in which the leader plans workloads."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.controller.turns import ROUTINE_SLICE, SLICE, Turns
from orchestrator.model.workload import WorkloadKey


def keys(count: int, name: str = "w") -> list[WorkloadKey]:
    return [WorkloadKey("default", f"{name}{index:04}") for index in range(count)]


def unranked() -> Turns:
    return Turns(lambda _: 0)


def drawn(turns: Turns) -> Iterator[set[WorkloadKey]]:
    while turns:
        yield turns.draw()


def test_news_is_drawn_in_slices_and_each_once() -> None:
    turns = unranked()
    turns.add(keys(SLICE + 1))
    turns.add(keys(SLICE + 1))
    assert [len(each) for each in drawn(turns)] == [SLICE, 1]
    assert turns.draw() == set()


def test_the_highest_rank_comes_first_and_then_news_before_what_waited_in_vain() -> None:
    high, low = keys(SLICE, "high"), keys(SLICE, "low")
    ranks = dict.fromkeys(high, 7)
    turns = Turns(lambda each: ranks.get(each, 0))
    old = keys(SLICE, "a-name-that-sorts-first")
    turns.add(old, after_news=True)
    turns.add(low)
    turns.add(high, after_news=True)
    assert list(drawn(turns)) == [set(high), set(low), set(old)]


def test_news_waits_for_no_routine() -> None:
    turns = unranked()
    turns.add_routine(keys(3 * ROUTINE_SLICE))
    turns.draw()
    (new,) = keys(1, "z")
    turns.add([new])
    assert new in turns.draw()


def test_routine_is_not_put_off_by_news() -> None:
    turns = unranked()
    turns.add_routine(keys(2 * ROUTINE_SLICE))
    turns.add(keys(3 * SLICE, "news"))
    assert [len(each) for each in drawn(turns)] == [
        *[SLICE + ROUTINE_SLICE] * 2,
        SLICE,
    ]


def test_what_is_looked_at_as_news_is_not_looked_at_again_as_routine() -> None:
    turns = unranked()
    turns.add_routine(keys(ROUTINE_SLICE + 1))
    turns.add(keys(ROUTINE_SLICE + 1))
    assert turns.draw() == set(keys(ROUTINE_SLICE + 1))
    assert not turns


def test_what_was_drawn_may_come_again() -> None:
    turns = unranked()
    turns.add_routine(keys(1))
    turns.add(keys(1))
    turns.draw()
    turns.add_routine(keys(1))
    assert list(drawn(turns)) == [set(keys(1))]
