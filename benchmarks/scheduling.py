"""Scheduling: the engine by itself, then the whole way from one apply to instances that run.

First the scheduler alone, in memory (`benchmarks.scheduling_engine`). Then real etcd, three real
controllers and simulated nodes (`benchmarks.scheduling_cluster`, which takes other sizes): 150,000
instances on 5,000 nodes with one etcd member, 10,000 of them as kube-scheduler's own benchmark has
them, and with three members.

    python -m benchmarks.scheduling [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from benchmarks import scheduling_engine
from benchmarks.report import Report, parse_options
from benchmarks.scheduling_cluster import QUICK, Size, measure

LATE_SECONDS = 40.0
"""Until simulated instances run: after the last commit, so that the two are told apart."""

SIZES = (
    Size(),
    Size(start_seconds=LATE_SECONDS, singles=0, lost_nodes=0),
    Size(workloads=100, singles=0, lost_nodes=0),
    Size(members=3, start_seconds=LATE_SECONDS, singles=0, lost_nodes=0),
)


def main() -> None:
    options = parse_options(__doc__)
    report = Report("Scheduling")
    scheduling_engine.measure(report, is_quick=options.quick)
    for size in (QUICK,) if options.quick else SIZES:
        members = f"{size.members} etcd member{'s' if size.members > 1 else ''}"
        print(f"{size.instances:,} instances, {members}", file=sys.stderr, flush=True)
        report.rows += [
            replace(row, name=f"{members}: {row.name}") for row in asyncio.run(measure(size))
        ]
    report.publish(options)


if __name__ == "__main__":
    main()
