"""What every benchmark prints: one table, and on request the same rows as JSON.

A benchmark's main program is three steps::

    options = parse_options(__doc__)
    report = Report("Store")
    report.add("guarded", "keys/s", samples, floor=bare)   # once per figure
    report.publish(options)
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """`quick` asks for a run under a minute; `json_path` for the rows in a file."""

    quick: bool
    json_path: Path | None


def parse_options(description: str | None, arguments: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="finish in less than a minute")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write the rows there as well")
    parsed = parser.parse_args(arguments)
    return Options(parsed.quick, parsed.json)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` % of all samples do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` over its `samples`, beside `floor`, what is possible without us."""

    name: str
    value: float
    unit: str
    samples: tuple[float, ...]
    floor: float | None = None
    aim: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "floor": self.floor,
            "ratio": self.ratio,
            "runs": len(self.samples),
            "min": min(self.samples),
            "median": statistics.median(self.samples),
            "max": max(self.samples),
        }


@dataclass(slots=True)
class Report:
    title: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        name: str,
        unit: str,
        samples: Sequence[float],
        *,
        value: float | None = None,
        floor: float | None = None,
        aim: str = "",
    ) -> None:
        """Add a figure; `value` is the median of the samples unless given (a percentile, say).

        `aim` is what the figure should be, in words ("at most 100 ms"); only the table shows it.
        """
        chosen = statistics.median(samples) if value is None else value
        self.rows.append(Row(name, chosen, unit, tuple(samples), floor, aim))

    def publish(self, options: Options) -> None:
        """Print the table, and write the JSON rows if they were asked for."""
        print(self.table())
        if options.json_path:
            rows = [row.as_json() for row in self.rows]
            options.json_path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Names and aims to the left, numbers to the right, as wide as they need."""
        heads = ("figure", "value", "unit", "floor", "ratio", "runs", "min", "median", "max", "aim")
        lines = [heads, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
        left = {0, 2, len(heads) - 1}
        text = [
            "  ".join(
                cell.ljust(width) if column in left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, text))
        return "\n".join([self.title, rule, text[0], rule, *text[1:], rule])


def _cells(row: Row) -> tuple[str, ...]:
    record = row.as_json()
    ratio = "" if row.ratio is None else f"{row.ratio:.0%}"
    spread = [_number(record[name]) for name in ("min", "median", "max")]
    floor = "" if row.floor is None else _number(row.floor)
    runs = str(record["runs"])
    return (row.name, _number(row.value), row.unit, floor, ratio, runs, *spread, row.aim)


def _number(value: float) -> str:
    """Three significant digits below a thousand, whole numbers above."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
