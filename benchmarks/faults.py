"""Real faults on real processes: what was done to them, what broke, how soon all was well again.

Each scenario (tests/chaos) is carried out several times in a whole cluster on this machine, and
judged after each from etcd's own history, from a log of when processes really began and ended, and
from what the API had answered. A violation is a broken promise, or a cluster that did not recover.
The time is that from the fault (or from its end, where it has to be over first) until what people
had asked for meanwhile runs.

    python -m benchmarks.faults [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, groupby
from pathlib import Path

import pytest

from benchmarks.report import Options, parse_options, percentile
from orchestrator.model.errors import OrchestrationError
from tests.chaos.catalogue import SCENARIOS
from tests.chaos.scenario import Scenario, Span, carry_out
from tests.support.chaos.ground import Ground, entered
from tests.support.chaos.recordings import EtcdAtFault

RUNS = 5
QUICK = {"02-killed-leader", "08-frozen-member-of-standby", "19-compaction-under-the-stopped"}
HEADS = ("scenario", "runs", "faults", "violations", "p50 s", "p99 s", "at most s")


@dataclass(slots=True)
class Row:
    """Of one scenario; `skipped` says why there is nothing to say. In `invalid` runs etcd itself
    was at fault: they say nothing about us."""

    scenario: str
    at_most_seconds: float
    runs: int = 0
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    skipped: str = ""

    def cells(self) -> tuple[str, ...]:
        if self.skipped:
            return (self.scenario, f"skipped: {self.skipped}", *[""] * (len(HEADS) - 2))
        times = [f"{percentile(self.seconds, each):.1f}" for each in (50, 99) if self.seconds]
        counts = (str(self.runs), str(self.faults), str(len(self.violations)))
        return (self.scenario, *counts, *(times or ("", "")), f"{self.at_most_seconds:g}")


def measured(scenarios: Sequence[Scenario], runs: int) -> list[Row]:
    """Those that need the same arena share one, as long as nothing has gone wrong in it. Each has
    an event loop of its own: threads stay in the network in which they were started."""
    rows = []
    for ground, together in groupby(sorted(scenarios, key=_ground), key=lambda each: each.ground):
        todo = [
            (row, scenario)
            for scenario in together
            for row in [Row(f"{scenario.number}: {scenario.title}", scenario.within_seconds)]
        ]
        rows += [row for row, _ in todo]
        queue = iter([each for each in todo for _ in range(runs)])
        while asyncio.run(_in_one_arena(ground, queue)):
            continue
    return sorted(rows, key=lambda row: int(row.scenario.partition(":")[0]))


def _ground(scenario: Scenario) -> str:
    return repr(scenario.ground)


async def _in_one_arena(ground: Ground, queue: Iterator[tuple[Row, Scenario]]) -> bool:
    """Carry out what is in the queue until something goes wrong; whether there may be more."""
    first = next(queue, None)
    if first is None:
        return False
    row, _ = first
    try:
        with (
            tempfile.TemporaryDirectory(prefix="orc-faults-") as path,
            entered(ground, Path(path)) as arena,
        ):
            for row, scenario in chain((first,), queue):
                print(f"run {row.runs + 1} of {scenario.name}", file=sys.stderr, flush=True)
                row.runs += 1
                outcome = await carry_out(scenario, arena)
                row.faults += outcome.faults
                row.seconds.append(outcome.seconds_to_recover)
                row.violations += outcome.violations
                if outcome.violations:
                    return True
    except pytest.skip.Exception as skipped:
        row.skipped = str(skipped)
    except EtcdAtFault as fault:
        row.invalid.append(str(fault))
    except (AssertionError, subprocess.TimeoutExpired, OrchestrationError) as failed:
        row.violations.append(f"did not recover: {failed}")
    return True


def table(rows: Sequence[Row]) -> str:
    lines = [HEADS, *(row.cells() for row in rows)]
    widths = [
        max(len(line[column]) for line in lines if not line[1].startswith("skipped"))
        for column in range(len(HEADS))
    ]
    widths[0] = max(len(line[0]) for line in lines)
    text = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, text))
    broken = [f"{row.scenario}: {each}" for row in rows for each in (*row.violations, *row.invalid)]
    return "\n".join(["Real faults", rule, text[0], rule, *text[1:], rule, *broken])


def publish(rows: Sequence[Row], options: Options) -> None:
    print(table(rows))
    if options.json_path:
        text = json.dumps([asdict(row) for row in rows], indent=2)
        options.json_path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    options = parse_options(__doc__)
    if options.quick:
        chosen, runs = [each for each in SCENARIOS if each.name in QUICK], 1
    else:
        chosen, runs = [each for each in SCENARIOS if each.span is not Span.MINUTES], RUNS
    publish(measured(chosen, runs), options)


if __name__ == "__main__":
    main()
