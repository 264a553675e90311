"""Rows to text: plain columns that people can read and `awk` can split. Pure.

Every cell holds something (`-` for nothing) and only a last column may hold spaces, so that the
n-th word of a line is always the n-th column. Nothing is cut off.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

NOTHING = "-"
GAP = "  "

Paint = Callable[[str], str]
"""Colours a cell for a terminal; must not change its width."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table of `T`. `is_wide`: shown with `-o wide` only."""

    head: str
    cell: Callable[[T], str]
    is_wide: bool = False


def lines_of(
    columns: Sequence[Column[T]], rows: Iterable[T], *, wide: bool = False
) -> list[list[str]]:
    """The cells of each row, the heads first."""
    shown = [column for column in columns if wide or not column.is_wide]
    heads = [column.head for column in shown]
    return [heads, *([one_line(column.cell(row)) for column in shown] for row in rows)]


def one_line(text: str) -> str:
    """Text that cannot break a table or a terminal: control characters become spaces."""
    shown = "".join(" " if unicodedata.category(each) in _UNSHOWABLE else each for each in text)
    return " ".join(shown.split()) or NOTHING


_UNSHOWABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def widths_of(lines: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(text_width, column)) for column in zip(*lines, strict=True)]


def text_width(text: str) -> int:
    """How many places it takes on a terminal: wide characters take two, accents none."""
    return sum(_char_width(each) for each in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def format_line(cells: Sequence[str], widths: Sequence[int], paint: Paint | None = None) -> str:
    """Cells side by side, each as wide as its column; nothing trails behind the last one."""
    padded = [
        (paint(cell) if paint else cell) + " " * (width - text_width(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return GAP.join(padded).rstrip()


def format_table(lines: Sequence[Sequence[str]], paint: Paint | None = None) -> str:
    widths = widths_of(lines)
    heads, *rows = lines
    return "\n".join(
        [format_line(heads, widths), *(format_line(row, widths, paint) for row in rows)]
    )


def format_fields(fields: Sequence[tuple[str, str]], indent: str = "") -> str:
    """`Name:  value` lines, the values in one column; several lines in a value are kept."""
    width = max((len(name) for name, _ in fields), default=0) + 1
    lines: list[str] = []
    for name, value in fields:
        first, *rest = value.splitlines() or [NOTHING]
        lines.append(f"{indent}{name + ':':<{width}}{GAP}{first}".rstrip())
        lines += [f"{indent}{'':<{width}}{GAP}{line}".rstrip() for line in rest]
    return "\n".join(lines)
