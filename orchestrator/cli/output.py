"""Answers on standard output: as a table, as JSON or YAML, or as bare names."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.columns import Setting, columns_of
from orchestrator.cli.kinds import Kind
from orchestrator.cli.tables import NOTHING, format_line, format_table, lines_of, widths_of

if TYPE_CHECKING:
    from orchestrator.model.answers import Identity


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def is_table(self) -> bool:
        return self in {Format.TABLE, Format.WIDE}


_COLOURS = {
    "Running": "green",
    "Ready": "green",
    "Pending": "yellow",
    "Terminating": "yellow",
    "Unknown": "yellow",
    "cordoned": "yellow",
    "draining": "yellow",
    "Failed": "red",
    "NotReady": "red",
    "Down": "red",
}


def paint(cell: str) -> str:
    """The words for a state in its colour, where a person is looking."""
    colour = _COLOURS.get(cell)
    return click.style(cell, fg=colour) if colour and sys.stdout.isatty() else cell


def name_of(kind: Kind, item: Any) -> str:
    """The name by which `orc` finds it again, whatever namespace is chosen."""
    if kind is Kind.WORKLOADS:
        return f"{item.namespace}/{item.name}"
    return str(item.subject if kind is Kind.EVENTS else item.name)


def plain(value: object) -> Any:
    """Objects as JSON knows them."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def serialized(value: object, form: Format) -> str:
    """As JSON or YAML, without a newline at the end."""
    if form is Format.JSON:
        return json.dumps(plain(value), indent=2, ensure_ascii=False)
    import yaml

    text: str = yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def show(kind: Kind, items: Sequence[Any], form: Format, setting: Setting) -> None:
    """Show objects as a table or by name."""
    if form is Format.NAME:
        for item in items:
            click.echo(name_of(kind, item))
        return
    lines = lines_of(columns_of(kind, setting), items, wide=form is Format.WIDE)
    click.echo(format_table(lines, paint))


@dataclass(slots=True)
class RunningTable:
    """A table that goes on: each new line is set under the columns so far, which only widen."""

    kind: Kind
    is_wide: bool
    _widths: list[int] | None = None

    def show(self, items: Sequence[Any], setting: Setting) -> None:
        heads, *rows = lines_of(columns_of(self.kind, setting), items, wide=self.is_wide)
        self._echo([heads, *rows] if self._widths is None else rows)

    def show_deleted(self, identity: Identity, setting: Setting) -> None:
        """Its name, and the word in the last column."""
        columns = columns_of(self.kind, setting)
        heads = [column.head for column in columns if self.is_wide or not column.is_wide]
        cells = {"NAME": identity.name, "NAMESPACE": identity.namespace, heads[-1]: "deleted"}
        self._echo([[cells.get(head) or NOTHING for head in heads]])

    def _echo(self, lines: Sequence[Sequence[str]]) -> None:
        if not lines:
            return
        new = widths_of(lines)
        self._widths = [max(pair) for pair in zip(self._widths or new, new, strict=True)]
        for line in lines:
            click.echo(format_line(line, self._widths, paint))
