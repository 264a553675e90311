"""The benchmarks' report: its figures, its table and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import Options, Report, parse_options, percentile


def test_a_row_is_the_median_unless_a_value_is_given() -> None:
    report = Report("Store")
    report.add("guarded", "keys/s", [10.0, 30.0, 20.0], floor=25.0)
    report.add("apply p99", "ms", [1.0, 2.0], value=1.9)
    guarded, apply = report.rows
    assert (guarded.value, guarded.ratio) == (20.0, 0.8)
    assert (apply.value, apply.ratio) == (1.9, None)


def test_percentiles_are_samples_that_were_seen() -> None:
    samples = [float(number) for number in range(1, 201)]
    assert percentile(samples, 99) == 198.0
    assert percentile(samples, 100) == 200.0
    assert percentile([7.0], 50) == 7.0


def test_the_json_rows_hold_the_named_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    report = Report("Store")
    report.add("guarded", "keys/s", [10.0, 30.0, 20.0], floor=40.0)
    report.publish(Options(quick=True, json_path=path))
    assert json.loads(path.read_text()) == [
        {
            "name": "guarded",
            "value": 20.0,
            "unit": "keys/s",
            "floor": 40.0,
            "ratio": 0.5,
            "runs": 3,
            "min": 10.0,
            "median": 20.0,
            "max": 30.0,
        }
    ]


def test_the_table_shows_every_figure_with_its_aim(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("Store")
    report.add("guarded", "keys/s", [41_000.0], floor=50_000.0, aim="at least 80 %")
    report.publish(Options(quick=False, json_path=None))
    line = next(line for line in capsys.readouterr().out.splitlines() if "guarded" in line)
    assert line.split()[:5] == ["guarded", "41,000", "keys/s", "50,000", "82%"]
    assert line.endswith("at least 80 %")


def test_options_come_from_the_command_line() -> None:
    assert parse_options(None, []) == Options(quick=False, json_path=None)
    options = parse_options(None, ["--quick", "--json", "out.json"])
    assert options == Options(quick=True, json_path=Path("out.json"))
