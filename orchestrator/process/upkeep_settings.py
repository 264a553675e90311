"""What can be set for the care of etcd: its quota, its history, its backups."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from orchestrator.process.settings import ControllerSettings, ProcessSettings, StoreSettings


class EtcdOwnSettings(ProcessSettings):
    """What etcd does not tell of itself."""

    etcd_quota_bytes: int | None = Field(
        default=None,
        gt=0,
        description="etcd's own --quota-backend-bytes where it is not 2 GiB; 3.6 and newer tell.",
    )
    etcd_bin_dir: Path | None = Field(
        default=None,
        description="Where etcd and its tools are, of the version that runs, if not on PATH.",
    )


class EtcdSettings(EtcdOwnSettings, StoreSettings):
    """For the commands that speak to etcd directly."""


class ReplicaSettings(EtcdOwnSettings, ControllerSettings):
    """All of a controller's: that replica which leads cares for etcd."""

    etcd_upkeep: bool = Field(
        default=True,
        description="Compact and defragment etcd, and make room when it is full; switch it off"
        " where somebody else does.",
    )
    etcd_compaction_seconds: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        description="How long etcd keeps its history; 0: it is left to etcd's --auto-compaction.",
    )
    snapshot_dir: Path | None = Field(
        default=None,
        description="Where the leader keeps backups of etcd. Left out: it takes none.",
    )
    snapshot_interval_seconds: float = Field(
        default=3600.0, ge=5, le=604_800, description="How often it takes one."
    )
    snapshots_kept: int = Field(default=24, ge=1, le=10_000, description="How many backups stay.")
    events_kept: int = Field(
        default=50_000,
        ge=1_000,
        le=1_000_000,
        description="How many events stay, of the last 24 hours; 2 kB of each controller's memory.",
    )
    restore_drill: bool = Field(
        default=True, description="Prove each backup by restoring it to a throw-away etcd."
    )
