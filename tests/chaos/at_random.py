"""Faults drawn by a seed: each befalls a process for a while and then is over, several at a time.

Not more is broken at once than people may expect to survive: etcd keeps its majority, and agents
are not away for longer than workloads wait for their nodes. So not one process may ever end that
was not killed here, or told to by the leader; and nothing is given up.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from orchestrator.model.workload import OnNodeLost
from tests.chaos.scenario import Scenario
from tests.support.chaos.arena import Arena
from tests.support.etcd import EtcdMember
from tests.support.operator import Operator
from tests.support.orc_process import OrcProcess

SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
LONGEST_SECONDS = 8.0
"""Of one fault: more than leases last, less than workloads wait."""
PAUSE_SECONDS = 3.0
REPLICAS = (2, 6)

Victim = OrcProcess | EtcdMember


class Nemesis:
    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._rng = arena.rng
        self._troubled: set[str] = set()

    async def rage(self, seconds: float) -> None:
        """Returns when the last fault is over."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as raging:
            while time.monotonic() < end:
                raging.create_task(self._rng.choice(_FAULTS)(self))
                await asyncio.sleep(self._rng.uniform(0.2, PAUSE_SECONDS))

    async def kill(self) -> None:
        async with self._victim() as victim:
            if victim is not None:
                self._arena.kill(victim)
                await self._wait()
                await asyncio.to_thread(victim.launch)

    async def freeze(self) -> None:
        async with self._victim() as victim:
            if victim is not None:
                self._arena.pause(victim)
                await self._wait()
                victim.resume()

    async def crash(self) -> None:
        lives = self._arena.lives.living()
        if lives:
            self._arena.kill_life(self._rng.choice(lives))

    async def revive(self) -> None:
        """What has ended by itself, as leaders do who have lost their lease."""
        for process in self._arena.cluster.processes:
            if process.name not in self._troubled and not process.is_running:
                await asyncio.to_thread(process.launch)

    @asynccontextmanager
    async def _victim(self) -> AsyncIterator[Victim | None]:
        """Somebody who runs and has no other trouble; of etcd's members one at a time only."""
        members: list[Victim] = list(self._arena.etcd.members)
        processes: list[Victim] = list(self._arena.cluster.processes)
        group = self._rng.choice([members, processes])
        spared = {each.name for each in members} if self._troubled & _names(members) else set()
        free = [each for each in group if each.name not in self._troubled | spared]
        running = [each for each in free if each.is_running]
        victim = self._rng.choice(running) if running else None
        name = victim.name if victim else ""
        self._troubled.add(name)
        try:
            yield victim
            if isinstance(victim, EtcdMember):
                await asyncio.to_thread(victim.wait_until_it_serves)
        finally:
            self._troubled.discard(name)

    async def _wait(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, LONGEST_SECONDS))


def _names(members: list[Victim]) -> set[str]:
    return {each.name for each in members}


_FAULTS: tuple[Callable[[Nemesis], Coroutine[None, None, None]], ...] = (
    Nemesis.kill,
    Nemesis.freeze,
    Nemesis.crash,
    Nemesis.revive,
)


async def random_faults(arena: Arena) -> float:
    async with arena.operating() as operator, arena.writing(operator):
        names = [
            await arena.stand_up(operator, 3),
            await arena.stand_up(operator, 3, on_node_lost=OnNodeLost.WAIT),
        ]
        scaling = asyncio.create_task(_scale_on(arena, operator, names))
        await Nemesis(arena).rage(SECONDS)
        scaling.cancel()
        with suppress(asyncio.CancelledError):
            await scaling
        began = time.monotonic()
        await arena.heal()
        for name in names:
            await arena.scale(operator, name, 4)
        return time.monotonic() - began


async def _scale_on(arena: Arena, operator: Operator, names: list[str]) -> None:
    while True:
        await operator.scale(arena.rng.choice(names), arena.rng.randint(*REPLICAS))
        await asyncio.sleep(arena.rng.uniform(0.5, PAUSE_SECONDS))


SCENARIOS = (Scenario(99, "random faults", random_faults, 30.0),)
