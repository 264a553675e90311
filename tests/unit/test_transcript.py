"""The reader of transcripts: what counts as being as written."""

from __future__ import annotations

import pytest

from tests.support.transcript import Step, matches, steps_of


def test_commands_and_what_they_print_are_read_with_their_lines() -> None:
    document = "text\n```console\n$ one\n$ two\nout\n...\n```\n```\n$ not this\n```\n"
    assert steps_of(document) == [Step(3, "one", ()), Step(4, "two", ("out", "..."))]


@pytest.mark.parametrize(
    ("expected", "actual", "is_as_written"),
    [
        (("a  b",), "a     b", True),
        (("a ... c",), "a bb bb c", True),
        (("a ...",), "a", False),
        (("a...",), "a", True),
        (("...", "b"), "x\ny\nb", True),
        (("...",), "", True),
        (("a",), "a\nb", False),
        ((), "a", False),
        ((), "", True),
        (("(a)",), "a", False),
    ],
)
def test_dots_stand_for_anything(
    expected: tuple[str, ...], actual: str, is_as_written: bool
) -> None:
    assert matches(expected, actual) is is_as_written
