"""Records: parsing and dumping what an agent and the leader say of one instance.

The floor is the standard library's bare `json` on the same bytes: no types, no checks.
"""

from __future__ import annotations

import json
import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import Report, parse_options
from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    InstanceName,
    InstanceObservation,
    PortBinding,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey
from orchestrator.model.records import Record, dump, load
from store.stamps import stamped
from store.transactions import Fence, Leadership, SessionFence

AIM = "under 6 us"
CALLS = 2_000

NAME = InstanceName("default", "web", 2, 7)
PLACE = InstancePlace("node-1", NAME)
ASSIGNMENT = Assignment(
    *NAME[:2], generation=4, slot=2, attempt=7, wanted=Wanted.RUNNING, reason="scaled up to 3"
)
OBSERVATION = InstanceObservation(
    WorkloadInstanceStatus.RUNNING,
    assignment=1_742,
    reason="started",
    ports=(PortBinding("server", 8080, 20_001, name="http"),),
    containers=(ContainerObservation("server", f"{NAME}.server", pid=31_337),),
    started_at=1_790_000_000.123456,
)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    parsed: ParsedKey
    record: Record
    fence: Fence


CASES = (
    Case("assignment", ParsedKey(Kind.ASSIGNMENT, PLACE), ASSIGNMENT, Leadership("leader", 12)),
    Case("observation", ParsedKey(Kind.OBSERVATION, PLACE), OBSERVATION, SessionFence("a", 12)),
)


def main() -> None:
    options = parse_options(__doc__)
    report = Report("Records of one instance")
    for case in CASES:
        _measure(case, report, runs=30 if options.quick else 200)
    report.publish(options)


def _measure(case: Case, report: Report, runs: int) -> None:
    """Both directions of one record; it is read as the store holds it, with its write stamp."""
    value = stamped(dump(case.record), op="7f3a9c", base=1_741, fence=case.fence)
    tree = json.loads(dump(case.record))
    floor = _microseconds(lambda: json.loads(value), runs)
    parsing = _microseconds(lambda: load(case.parsed, value), runs)
    report.add(f"{case.name}: parse", "us", parsing, floor=statistics.median(floor), aim=AIM)
    floor = _microseconds(lambda: json.dumps(tree), runs)
    dumping = _microseconds(lambda: dump(case.record), runs)
    report.add(f"{case.name}: dump", "us", dumping, floor=statistics.median(floor), aim=AIM)


def _microseconds(call: Callable[[], object], runs: int) -> list[float]:
    """The mean time of a call, for each run of `CALLS`."""
    return [run / CALLS * 1e6 for run in timeit.repeat(call, number=CALLS, repeat=runs)]


if __name__ == "__main__":
    main()
