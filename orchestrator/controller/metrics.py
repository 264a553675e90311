"""What a controller replica tells Prometheus of its leading and planning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.controller.committer import Report
from orchestrator.model.actions import Forget, Place, Plan, Stop
from orchestrator.model.workload import WorkloadKey

_BUCKETS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class LeaderMetrics:
    """One per process; `orchestrator_leader_is_leader` is 1 on the replica that leads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "orchestrator_leader"
        self.is_leader = Gauge(
            f"{prefix}_is_leader", "1 while this replica leads", registry=registry
        )
        self.epoch = Gauge(
            f"{prefix}_epoch", "Epoch of this replica's last term", registry=registry
        )
        self.longest_renewal_gap = Gauge(
            f"{prefix}_longest_renewal_gap_seconds",
            "Longest time between two renewals of this replica's lease in its last term",
            registry=registry,
        )
        self.met_nodes = Gauge(
            f"{prefix}_met_nodes",
            "Nodes whose agents this replica has a connection to as the leader, or has had",
            registry=registry,
        )
        self._plans = Histogram(
            f"{prefix}_plan_seconds", "Time to plan", registry=registry, buckets=_BUCKETS
        )
        self._actions = Counter(
            f"{prefix}_actions_planned", "Actions planned", ["action"], registry=registry
        )
        self._transactions = Counter(
            f"{prefix}_transactions", "Transactions committed", registry=registry
        )
        self._interrupted = Counter(
            f"{prefix}_interrupted_passes", "Passes cut short by a conflict", registry=registry
        )
        self._unplaced = Gauge(
            f"{prefix}_unplaced_workloads", "Workloads that wait for room", registry=registry
        )

    @contextmanager
    def planning(self) -> Iterator[None]:
        with self._plans.time():
            yield

    def planned(self, made: Plan, unplaced: frozenset[WorkloadKey]) -> None:
        for name, kind in (("place", Place), ("stop", Stop), ("forget", Forget)):
            count = sum(
                isinstance(each, kind) for change in made.changes for each in change.actions
            )
            self._actions.labels(name).inc(count)
        self._unplaced.set(len(unplaced))

    def committed(self, report: Report) -> None:
        self._transactions.inc(report.committed)
        if report.was_interrupted:
            self._interrupted.inc()
