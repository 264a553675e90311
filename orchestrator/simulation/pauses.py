"""Processes that are stopped where it hurts most: around each call that leaves them.

Random pauses hardly ever fall between looking and acting. So each call of the store, and each
deed of the runtime, is a point at which the process may be frozen, by chance.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import TypeVar

from orchestrator.model import errors
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import SimulatedHost
from orchestrator.simulation.loop import Process, own_process
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.protocol import DEFAULT_TIMEOUT_SECONDS
from store.values import LeaseGrant, LeaseKeepAlive, RangeOp, RangeResult, Txn, TxnResult

T = TypeVar("T")

LONG_SECONDS = 20.0
SHORT_SECONDS = 0.5

WEIGHT = {"before txn": 5.0, "after create": 5.0, "after stop": 5.0}
"""Where a pause is worth more: what was checked is about to be acted upon, or told."""


class Pauses:
    """`share` of the points are pauses; a third of them may be longer than a lease."""

    def __init__(self, rng: random.Random) -> None:
        self.share = 0.0
        self.taken: Counter[str] = Counter()
        self._rng = rng
        self._arranged: dict[tuple[Process, str], float] = {}

    def arrange(self, process: Process, where: str, seconds: float) -> None:
        """The next time that `process` comes there it is frozen, whatever chance would say."""
        self._arranged[process, where] = seconds

    async def point(self, where: str) -> None:
        if not self.share and not self._arranged:
            return
        process = own_process()
        if process is None:
            return
        seconds = self._arranged.pop((process, where), 0.0) or self._drawn(where)
        if not seconds:
            return
        self.taken[where] += 1
        process.freeze()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, process.thaw, context=Context())
        await asyncio.sleep(0)

    def _drawn(self, where: str) -> float:
        if self.share <= 0.0 or self._rng.random() >= self.share * WEIGHT.get(where, 1.0):
            return 0.0
        longest = LONG_SECONDS if self._rng.random() < 0.33 else SHORT_SECONDS
        return self._rng.uniform(0.0, longest)


class PausingStore(MemoryStore):
    """One client's way to `cluster`. `calls` counts what each client asks."""

    def __init__(
        self, cluster: MemoryCluster, client: str, pauses: Pauses, calls: Counter[str]
    ) -> None:
        cluster.connect(client)
        super().__init__(cluster, cluster.link(client))
        self._client = client
        self._pauses = pauses
        self._calls = calls

    async def range(
        self, op: RangeOp, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> RangeResult:
        call = partial(super().range, op, timeout_seconds=timeout_seconds)
        return await self._paused("read", call)

    async def txn(self, txn: Txn, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> TxnResult:
        call = partial(super().txn, txn, timeout_seconds=timeout_seconds)
        return await self._paused("txn", call)

    async def grant_lease(
        self,
        lease_id: int,
        ttl_seconds: int,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> LeaseGrant:
        call = partial(super().grant_lease, lease_id, ttl_seconds, timeout_seconds=timeout_seconds)
        return await self._paused("lease", call)

    async def renew_lease(self, lease_id: int, timeout_seconds: float) -> LeaseKeepAlive:
        call = partial(super().renew_lease, lease_id, timeout_seconds)
        return await self._paused("keepalive", call)

    async def _paused(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        self._calls[self._client] += 1
        await self._pauses.point(f"before {what}")
        answer = await call()
        await self._pauses.point(f"after {what}")
        return answer


class TroubledRuntime(SimulatedRuntime):
    """Fails, hangs, and says of what it has started that it has not: `share` of its deeds do.

    `spoilt` has the instances of which it has said so.
    """

    def __init__(
        self, host: SimulatedHost, pauses: Pauses, troubles: Troubles, spoilt: set[str]
    ) -> None:
        super().__init__(host)
        self._pauses = pauses
        self._troubles = troubles
        self._spoilt = spoilt

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        await self._pauses.point("before create")
        if self._troubles.happens("create fails"):
            raise errors.RuntimeError("the simulated runtime has refused")
        await self._troubles.hang("create hangs")
        status = await super().create(spec)
        if self._troubles.happens("create fails late"):
            self._spoilt.add(spec.instance)
            raise errors.RuntimeError("the simulated runtime has lost its answer")
        await self._pauses.point("after create")
        return status

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        await self._pauses.point("before stop")
        if self._troubles.happens("stop fails"):
            raise errors.RuntimeError("the simulated runtime has not stopped it")
        await self._troubles.hang("stop hangs")
        await super().stop(container_id, grace_seconds)
        await self._pauses.point("after stop")

    async def remove(self, container_id: str) -> None:
        if self._troubles.happens("remove fails"):
            raise errors.RuntimeError("the simulated runtime has not removed it")
        await super().remove(container_id)
        await self._pauses.point("after remove")


class Troubles:
    """What goes wrong on machines, by chance; counted in `taken`."""

    def __init__(self, rng: random.Random) -> None:
        self.share = 0.0
        self.taken: Counter[str] = Counter()
        self._rng = rng

    def happens(self, what: str) -> bool:
        does = self.share > 0.0 and self._rng.random() < self.share
        self.taken[what] += does
        return does

    async def hang(self, what: str) -> None:
        if self.happens(what):
            await asyncio.sleep(self._rng.uniform(0.0, LONG_SECONDS))
