"""What the care of etcd tells Prometheus: its room, its history, its backups."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from orchestrator.upkeep.drill import DrillResult, Verdict
from orchestrator.upkeep.snapshots import Snapshot
from orchestrator.upkeep.space import Fill, Measures
from store.values import MemberStatus

TASKS = ("space", "tend", "snapshot")


class UpkeepMetrics:
    """One per process. What no replica but the leader does stays at 0 on the others."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"orchestrator_etcd_{name}", text, labels, registry=registry)

        self._size = gauge("db_size_bytes", "Size of the member's database file", ["endpoint"])
        self._in_use = gauge("db_in_use_bytes", "What is in use of that file", ["endpoint"])
        self._members_up = gauge("members_up", "How many endpoints answer")
        self._quota_share = gauge("quota_share", "In use of the fullest member, as a share of 1")
        self._level = gauge("space_level", "0 roomy, 1 low, 2 tight, 3 critical, 4 full")
        self._compacted = gauge("compacted_revision", "The revision last compacted at")
        self._compacted_at = gauge(
            "last_compaction_timestamp_seconds", "When this replica last compacted"
        )
        self._snapshot_at = gauge(
            "last_snapshot_timestamp_seconds", "When the last backup was taken"
        )
        self._snapshot_size = gauge("last_snapshot_bytes", "Size of the last backup")
        self._drill = gauge(
            "last_drill_result", "1: the last backup was proven, 0: it was not done, -1: it failed"
        )
        self._drill_seconds = gauge("last_drill_seconds", "How long restoring it took")
        self._failures = Counter(
            "orchestrator_etcd_upkeep_failures",
            "What could not be done for etcd",
            ["task"],
            registry=registry,
        )
        for task in TASKS:
            self._failures.labels(task)  # a rule can only count from what is there
        self._rescues = Counter(
            "orchestrator_etcd_rescues", "How often room was made in a full store",
            registry=registry,
        )  # fmt: skip

    def saw(self, members: Sequence[MemberStatus], fill: Fill | None, measures: Measures) -> None:
        self._members_up.set(len(members))
        for member in members:
            self._size.labels(member.endpoint).set(member.db_size_bytes)
            self._in_use.labels(member.endpoint).set(member.db_size_in_use_bytes)
        if fill:
            self._quota_share.set(fill.in_use_share)
        self._level.set(measures.level)

    def compacted(self, revision: int, at: float) -> None:
        self._compacted.set(revision)
        self._compacted_at.set(at)

    def took(self, snapshot: Snapshot) -> None:
        self._snapshot_at.set(snapshot.taken_at)
        self._snapshot_size.set(snapshot.size_bytes)

    def drilled(self, result: DrillResult) -> None:
        numbers = {Verdict.PROVEN: 1, Verdict.NOT_DONE: 0, Verdict.FAILED: -1}
        self._drill.set(numbers[result.verdict])
        self._drill_seconds.set(result.seconds)

    def failed(self, task: str) -> None:
        self._failures.labels(task).inc()

    def rescued(self) -> None:
        self._rescues.inc()
