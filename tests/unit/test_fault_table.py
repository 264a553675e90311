"""The table of real faults: a row for each scenario, and what was broken below it."""

from __future__ import annotations

from benchmarks.faults import Row, table

WELL = Row("1: leader frozen", 5.0, runs=3, faults=3, seconds=[1.0, 3.0, 2.0])
BROKEN = Row("6: etcd's leader killed", 9.0, runs=2, faults=2, violations=["two leaders"])
SKIPPED = Row("10: partition", 8.0, skipped="only root may have a network of its own")


def test_each_scenario_has_a_row() -> None:
    lines = table([WELL, BROKEN, SKIPPED]).splitlines()
    rows = {line.partition(":")[0]: line.partition("  ")[2].split() for line in lines[:-1]}
    assert rows["1"] == ["3", "3", "0", "2.0", "3.0", "5"]
    assert rows["6"] == ["2", "2", "1", "9"]
    assert " ".join(rows["10"]) == "skipped: only root may have a network of its own"
    assert lines[-1] == "6: etcd's leader killed: two leaders"


def test_columns_are_as_wide_as_their_figures() -> None:
    _, _, heads, _, well, *_ = table([WELL, SKIPPED]).splitlines()
    assert len(heads) == len(well)
