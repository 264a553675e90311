"""A controller's care of etcd, wired together."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from orchestrator.cluster.view import ClusterView
from orchestrator.controller.upkeep import Upkeep, UpkeepTerms
from orchestrator.process.clock import boottime
from orchestrator.process.upkeep_settings import ReplicaSettings
from orchestrator.upkeep.metrics import UpkeepMetrics
from orchestrator.upkeep.programs import EtcdPrograms, installed_programs
from orchestrator.upkeep.snapshots import SnapshotDirectory
from orchestrator.upkeep.watch import SpaceWatch, WatchTerms


@dataclass(frozen=True, slots=True)
class Care:
    """`space` looks on every replica; `upkeep` is for the one that leads."""

    space: SpaceWatch
    upkeep: Upkeep


def care_for(
    settings: ReplicaSettings,
    view: ClusterView,
    registry: CollectorRegistry,
    rng: random.Random,
) -> Care:
    """Nothing is asked or done yet."""
    metrics = UpkeepMetrics(registry)
    space = SpaceWatch(
        view.store,
        view.keys,
        metrics,
        clock=boottime,
        wall_clock=time.time,
        rng=rng,
        terms=WatchTerms(settings.etcd_quota_bytes, may_rescue=settings.etcd_upkeep),
    )

    def find_programs() -> list[EtcdPrograms]:
        return installed_programs(settings.etcd_bin_dir)

    upkeep = Upkeep(
        view,
        space,
        metrics,
        wall_clock=time.time,
        rng=rng,
        terms=_terms(settings),
        snapshots=_snapshots(settings),
        find_programs=find_programs,
    )
    return Care(space, upkeep)


def _terms(settings: ReplicaSettings) -> UpkeepTerms:
    return UpkeepTerms(
        endpoints=len(set(settings.etcd_endpoints)),
        is_active=settings.etcd_upkeep,
        compaction_seconds=settings.etcd_compaction_seconds,
        snapshot_interval_seconds=settings.snapshot_interval_seconds,
        drills=settings.restore_drill,
        events_kept=settings.events_kept,
    )


def _snapshots(settings: ReplicaSettings) -> SnapshotDirectory | None:
    if settings.snapshot_dir is None:
        return None
    return SnapshotDirectory(
        settings.snapshot_dir, kept=settings.snapshots_kept, wall_clock=time.time
    )
