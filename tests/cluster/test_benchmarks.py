"""The benchmarks run as the README says, and write the rows that people compare."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text()
)
FIELDS = ["name", "value", "unit", "floor", "ratio", "runs", "min", "median", "max"]


def run(name: str, *flags: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_takes_the_same_flags(name: str) -> None:
    text = run(name, "--help")
    assert "--quick" in text
    assert "--json PATH" in text


@pytest.mark.slow
def test_the_rows_of_the_table_are_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    table = run("records", "--quick", "--json", str(path))
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    assert len(rows) == 4
    for row in rows:
        assert list(row) == FIELDS
        assert row["name"] in table
        assert (row["unit"], row["runs"]) == ("us", 30)
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert row["value"] == row["median"]
        assert row["ratio"] == pytest.approx(row["value"] / row["floor"])
