"""Logs that are begun anew: what is passed over, and what is told."""

from __future__ import annotations

from orchestrator.model.log_cursor import LogCursor

Lines = list[tuple[str, str]]
"""(time, text) of one container."""


def told(*streams: Lines, is_cut: bool = False) -> list[str]:
    cursor = LogCursor(is_cut=is_cut)
    texts: list[str] = []
    for lines in streams:
        cursor.begin()
        texts += [text for time, text in lines if cursor.is_new("app", time)]
    return texts


def chunk(time: str, texts: str) -> Lines:
    return [(time, text) for text in texts]


def test_all_of_a_chunk_is_told_wherever_in_it_the_stream_broke_off() -> None:
    whole = [*chunk("1", "ab"), *chunk("2", "cdefgh"), *chunk("3", "i")]
    for end in range(len(whole)):
        assert "".join(told(whole[:end], whole)) == "abcdefghi", end
    for first in range(len(whole)):
        for second in range(first, len(whole)):
            streams = (whole[:first], whole[:second], whole)
            assert "".join(told(*streams)) == "abcdefghi", (first, second)


def test_a_stream_that_breaks_off_while_it_is_passed_over_loses_nothing() -> None:
    whole = chunk("1", "abcd")
    assert "".join(told(whole[:3], whole[:1], whole)) == "abcd"


def test_what_follows_the_last_line_is_new_whatever_its_time() -> None:
    """A line that was begun earlier than another may end later; and clocks are set back."""
    seen = [("1", "a"), ("5", "b")]
    assert told(seen, [*seen, ("3", "c"), ("2", "d"), ("6", "e")]) == ["a", "b", "c", "d", "e"]


def test_when_the_last_line_is_gone_what_is_later_is_new() -> None:
    assert told([("1", "a"), ("2", "b")], [("4", "d"), ("5", "e")]) == ["a", "b", "d", "e"]


def test_what_the_tail_has_cut_off_is_not_told_later() -> None:
    whole = [*chunk("1", "ab"), *chunk("2", "cdef")]
    later = [*whole, *chunk("3", "gh")]
    assert "".join(told(whole[-2:], later, is_cut=True)) == "efgh"
    assert "".join(told(whole[-2:], later[:-1], [*later, *chunk("3", "i")], is_cut=True)) == "efghi"


def test_each_source_is_read_for_itself() -> None:
    cursor = LogCursor()
    assert not cursor.has_moved
    assert [cursor.is_new(name, "7") for name in ("a", "b")] == [True, True]
    assert cursor.has_moved
    cursor.begin()
    assert [cursor.is_new(name, "7") for name in ("a", "b", "c", "a")] == [False, False, True, True]
