"""Volumes of a node, as tests ask for them, and what has to be taken away after them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.protocol import ContainerSpec, Isolation
from orchestrator.runtime.volumes.instance_mounts import NfsTerms
from orchestrator.runtime.volumes.mounting import mounts_below
from orchestrator.runtime.volumes.node_volumes import NodeVolumes, VolumeTerms

LOCAL = Volume("db", VolumeKind.LOCAL)
MEMORY = Volume("scratch", VolumeKind.TMPFS, size_mb=1.0)


def spec_with(
    *volumes: Volume,
    instance: str = "default.web.0.1",
    container: str = "app",
    mounts: tuple[Mount, ...] = (),
) -> ContainerSpec:
    """A container with all of `volumes`, each at `/<name>` unless `mounts` says where."""
    chosen = mounts or tuple(Mount(each.name, f"/{each.name}") for each in volumes)
    config = ContainerConfig(container, image="busybox", mounts=chosen)
    isolation = Isolation("busybox@sha256:0", config, volumes)
    name = f"{instance}.{container}"
    return ContainerSpec(name, instance, container, 1, ("sleep",), isolation=isolation)


def bind_of(path: Path, **more: object) -> Volume:
    return Volume("files", VolumeKind.BIND, str(path), **more)  # type: ignore[arg-type]


@dataclass
class Node:
    """Lives of one agent, one after the other: `begin` is a life's start, after any kind of end.
    `alive` are the containers of which something runs."""

    root: Path
    allowed: tuple[Path, ...] = ()
    nfs: NfsTerms = field(default_factory=NfsTerms)
    alive: set[str] = field(default_factory=set)

    def begin(self) -> NodeVolumes:
        terms = VolumeTerms(self.allowed, self.nfs)
        return NodeVolumes(self.root, terms, self.alive.__contains__)

    @property
    def mounted(self) -> list[Path]:
        return [each.relative_to(self.root) for each in mounts_below(self.root)]


@contextmanager
def unmounted_below(path: Path) -> Iterator[None]:
    """Skip without root, and leave no mount behind."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    try:
        yield
    finally:
        for each in mounts_below(path):
            subprocess.run(["umount", "--lazy", "--no-canonicalize", str(each)], check=True)
