"""Faults at random, one after the other: controllers killed and frozen, members of etcd frozen."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import NoReturn

from benchmarks.large_cluster import LargeCluster

PAUSE_SECONDS = (2.0, 10.0)
FROZEN_SECONDS = (0.5, 8.0)


class Faults:
    """`count`: how many there have been."""

    def __init__(self, cluster: LargeCluster, rng: random.Random) -> None:
        self.count = 0
        self._cluster = cluster
        self._rng = rng

    async def go_on(self) -> NoReturn:
        """Until cancelled; what is frozen then goes on."""
        while True:
            await asyncio.sleep(self._rng.uniform(*PAUSE_SECONDS))
            fault = self._rng.choice((self._kill, self._freeze, self._freeze_member))
            self.count += 1
            await fault()

    async def _kill(self) -> None:
        self._cluster.bench.kill(self._any_controller())

    async def _freeze(self) -> None:
        child = self._cluster.bench.children[self._any_controller()]
        if child.pid is None:
            return
        child.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(*FROZEN_SECONDS))
        finally:
            child.send(signal.SIGCONT)

    async def _freeze_member(self) -> None:
        member = self._rng.choice(self._cluster.etcd.members)
        member.pause()
        try:
            await asyncio.sleep(self._rng.uniform(*FROZEN_SECONDS))
        finally:
            member.resume()

    def _any_controller(self) -> str:
        return self._rng.choice(sorted(self._cluster.bench.children))
