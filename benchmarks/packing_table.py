"""What `benchmarks.packing` prints: a row for each trace and policy, beside what was published."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PAPER = {
    "default": {"random": 87.47, "bestfit": 93.08, "fgd": 95.39},
    "cpu100": {"random": 89.11, "bestfit": 93.44, "fgd": 95.35},
    "gpushare60": {"random": 83.65, "bestfit": 89.36, "fgd": 91.40},
    "gpuspec33": {"random": 86.46, "bestfit": 93.09, "fgd": 94.55},
    "multigpu20": {"random": 88.69, "bestfit": 93.93, "fgd": 95.65},
}


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One trace, one seed, one policy: percent allocated, milliseconds of CPU for each decision."""

    trace: str
    seed: int
    policy: str
    share: float
    milliseconds: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    trace: str
    policy: str
    shares: tuple[float, ...]
    milliseconds: Floats
    fgd: float | None

    @property
    def value(self) -> float:
        return statistics.fmean(self.shares)

    @property
    def paper(self) -> float | None:
        published = PAPER.get(self.trace, {})
        return published.get("fgd" if self.policy == "ours" else self.policy)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": f"{self.trace}/{self.policy}",
            "value": self.value,
            "unit": "%",
            "runs": len(self.shares),
            "min": min(self.shares),
            "median": statistics.median(self.shares),
            "max": max(self.shares),
            "paper": self.paper,
            "fgd": self.fgd,
            "ms_mean": float(self.milliseconds.mean()),
            "ms_p50": float(np.percentile(self.milliseconds, 50)),
            "ms_p99": float(np.percentile(self.milliseconds, 99)),
            "ms_max": float(self.milliseconds.max()),
        }

    def cells(self) -> tuple[str, ...]:
        record = self.as_json()
        return (
            record["name"],
            f"{self.value:.2f}",
            f"{statistics.pstdev(self.shares):.2f}",
            "" if self.paper is None else f"{self.paper:.2f}",
            "" if self.paper is None else f"{self.value - self.paper:+.2f}",
            "" if self.fgd is None else f"{self.value - self.fgd:+.2f}",
            *(f"{record[f'ms_{figure}']:.2f}" for figure in ("mean", "p50", "p99", "max")),
        )


HEADS = ("trace/policy", "share %", "dev", "paper", "to paper", "to fgd", "ms", "p50", "p99", "max")


def table_rows(traces: Sequence[str], policies: Sequence[str], runs: Iterable[Run]) -> list[Row]:
    """One for each trace and policy, in the order given."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault((run.trace, run.policy), []).append(run)
    means = {
        trace: statistics.fmean(run.share for run in group)
        for (trace, policy), group in groups.items()
        if policy == "fgd"
    }
    results = []
    for trace in traces:
        for policy in policies:
            group = groups[trace, policy]
            every = np.concatenate([run.milliseconds for run in group])
            shares = tuple(run.share for run in group)
            results.append(Row(trace, policy, shares, every, means.get(trace)))
    return results


def text(results: Sequence[Row]) -> str:
    lines = [HEADS, *(row.cells() for row in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    aligned = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, aligned))
    return "\n".join(["Packing", rule, aligned[0], rule, *aligned[1:], rule])
