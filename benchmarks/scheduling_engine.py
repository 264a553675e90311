"""The scheduler by itself, in memory: decisions a second on clusters of 500 to 50,000 nodes.

The floor hands out decisions in turn without looking at any node: what the values alone cost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice

from benchmarks.report import Report
from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import (
    NODE_KEY,
    Affinity,
    Placement,
    Taint,
    TaintEffect,
    Toleration,
    TopologySpread,
)
from orchestrator.model.workload import WorkloadKey
from orchestrator.process.collector import set_survivors_aside
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import AssignNode, ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler

RUNS = 3
ZONES = 3
TAINTED_EVERY = 10
TOLERANT = Placement(tolerations=(Toleration("dedicated", value="batch"),))
BY_ZONE = Placement(spread=(TopologySpread("zone"),))
BY_NODE = Placement(spread=(TopologySpread(NODE_KEY),))
APART = Affinity(labels={"app": "bench"}, topology_key=NODE_KEY)
WITH_DB = Affinity(workload="db", topology_key="zone")


@dataclass(frozen=True, slots=True)
class Case:
    """`batches` workloads of `replicas` each, all with the same constraints."""

    name: str
    nodes: int
    batches: int
    replicas: int
    placement: Placement = TOLERANT
    aim: str = ""


def cases(*, is_quick: bool) -> list[Case]:
    """In batches first, then what costs more; and the same over the number of nodes."""
    share = 10 if is_quick else 1
    apart = Placement(anti_affinity=(APART,))
    with_db = Placement(affinity=(WITH_DB,))
    found = [
        Case("batches of 100", 5_000, 1_500 // share, 100, aim="at least 100,000"),
        Case("each of its own shape", 5_000, 9_000 // share, 1, aim="at least 3,000"),
        Case("zone spread, max skew 1", 5_000, 300 // share, 100, BY_ZONE, "at least 20,000"),
        Case("spread by node, max skew 1", 5_000, 40 // share, 100, BY_NODE),
        Case("apart from its own, by node", 5_000, 40 // share, 100, apart, "at least 20,000"),
        Case(
            "with another workload, by zone", 5_000, 300 // share, 100, with_db, "at least 20,000"
        ),
        Case("each of its own shape", 500, 9_000 // share, 1),
        Case("each of its own shape", 50_000, 900 // share, 1),
        Case("batches of 100", 500, 150 // share, 100),
    ]
    return found if is_quick else [*found, Case("batches of 100", 50_000, 1_500, 100)]


def measure(report: Report, *, is_quick: bool) -> None:
    """With Python's collector set as the controllers have it."""
    set_survivors_aside()
    for case in cases(is_quick=is_quick):
        print(f"{case.name} on {case.nodes:,} nodes", file=sys.stderr, flush=True)
        snapshot, requests = cluster(case.nodes), list(requests_of(case))
        rates = [_rate(requests, snapshot) for _ in range(1 if is_quick else RUNS)]
        name = f"{case.name}, {case.nodes:,} nodes"
        report.add(name, "placements/s", rates, floor=_floor(requests, snapshot), aim=case.aim)


def cluster(nodes: int) -> Snapshot:
    """Machines of 64 cores in three zones, every tenth of them tainted; `db` runs in one zone."""
    taint = (Taint("dedicated", "batch", TaintEffect.NO_SCHEDULE),)
    snapshot = Snapshot.of(
        (
            NodeFacts(
                f"n{number:05d}",
                {"cpu_cores": 64_000, "memory_mb": 256_000_000},
                labels={"zone": f"z{number % ZONES}"},
                taints=taint if number % TAINTED_EVERY == 0 else (),
            )
            for number in range(nodes)
        ),
        {},
    )
    snapshot.take(Shape(WorkloadKey("default", "db")), [1])
    return snapshot


def requests_of(case: Case) -> Iterable[ScheduleRequest]:
    for number in range(case.batches):
        key = WorkloadKey("default", f"w{number:05d}")
        quantities = {"cpu_cores": 100 + number % 13, "memory_mb": 200_000 + number % 7}
        shape = Shape(key, quantities, labels={"app": "bench"}, placement=case.placement)
        failures: dict[str, int] = {}
        for slot in range(case.replicas):
            yield ScheduleRequest(InstanceName("default", key.name, slot, 1), shape, failures)


def _rate(requests: list[ScheduleRequest], snapshot: Snapshot) -> float:
    began = time.perf_counter()
    decisions = VectorScheduler().schedule(requests, snapshot)
    seconds = time.perf_counter() - began
    assert all(isinstance(each, AssignNode) for each in decisions), "some found no node"
    return len(decisions) / seconds


def _floor(requests: list[ScheduleRequest], snapshot: Snapshot) -> float:
    began = time.perf_counter()
    names = islice(cycle(snapshot.facts.names), len(requests))
    made = [
        AssignNode(name, f"instance {each.instance.slot} is next")
        for each, name in zip(requests, names, strict=True)
    ]
    return len(made) / (time.perf_counter() - began)
