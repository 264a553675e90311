"""Faults, drawn by a seed: each befalls somebody for a while, and is over when it is cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from store.memory.meanness import CALM, Meanness
from tests.support.faulty_world import FaultyWorld
from tests.support.virtual_time import virtual_now

MEAN = Meanness(
    request_seconds=(0.0, 0.2),
    reply_seconds=(0.0, 0.2),
    refused=0.05,
    lost_request=0.05,
    lost_reply=0.05,
    late_commit=0.05,
    late_seconds=(0.0, 10.0),
    cut_seconds=(0.0, 2.0),
    stale_read=0.1,
    stale_revisions=5,
    lease_lost=0.01,
    watch_seconds=(0.0, 0.5),
    watch_repeated=0.05,
    watch_broken=0.03,
    watch_compacted=0.01,
    fragment_events=2,
)

SHORT = 25.0
"""Seconds that an agent may be away: with its lease's less than what makes its node a lost one."""

Fault = Callable[["Nemesis"], Awaitable[None]]


class Nemesis:
    """One fault at a time for each process; any number of them at once."""

    def __init__(self, world: FaultyWorld, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.troubled: set[str] = set()
        self._alone = asyncio.Lock()

    async def rage(self, seconds: float, faults: Sequence[Fault]) -> None:
        """At the end all faults are over."""
        raging: list[asyncio.Task[None]] = []
        end = virtual_now() + seconds
        while virtual_now() < end:
            raging.append(asyncio.create_task(self._befall(self.rng.choice(faults))))
            await asyncio.sleep(self.rng.uniform(0.1, 6.0))
        for task in raging:
            task.cancel()
        for outcome in await asyncio.gather(*raging, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _befall(self, fault: Fault) -> None:
        await fault(self)

    def controller(self) -> str | None:
        """The leader half of the time."""
        names = self._untroubled(self.world.controllers)
        if self.world.leader in names and self.rng.random() < 0.5:
            return self.world.leader
        return self.rng.choice(names) if names else None

    def agent(self) -> str | None:
        """One that has a session, so that it is not away for longer than one fault lasts."""
        names = self._untroubled(set(self.world.machines) & set(self.world.state.sessions))
        return self.rng.choice(names) if names else None

    def _untroubled(self, names: Iterable[str]) -> list[str]:
        return [] if self._alone.locked() else sorted(set(names) - self.troubled)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no process has other troubles, and nodes have the sessions that they had."""
        async with self._alone:
            while self.troubled or set(self.world.machines) != set(self.world.state.sessions):
                await asyncio.sleep(0.1)
            yield

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, seconds))


async def _during(
    nemesis: Nemesis,
    name: str | None,
    begin: Callable[[str], None],
    end: Callable[[str], None],
    seconds: float,
) -> None:
    if name is None:
        return
    nemesis.troubled.add(name)
    begin(name)
    try:
        await nemesis.wait(seconds)
    finally:
        end(name)
        nemesis.troubled.discard(name)


async def kill_controller(nemesis: Nemesis) -> None:
    if (name := nemesis.controller()) is None:
        return
    nemesis.troubled.add(name)
    try:
        await nemesis.world.kill_controller(name)
        await nemesis.wait(5.0)
    finally:
        nemesis.world.store.resume(name)
        nemesis.world.start_controller(name)
        nemesis.troubled.discard(name)


async def stop_controller(nemesis: Nemesis) -> None:
    if (name := nemesis.controller()) is None:
        return
    nemesis.troubled.add(name)
    try:
        await nemesis.world.stop_controller(name)
    finally:
        nemesis.world.start_controller(name)
        nemesis.troubled.discard(name)


async def freeze_controller(nemesis: Nemesis) -> None:
    name = nemesis.controller()
    processes = nemesis.world.processes
    await _during(
        nemesis, name, lambda it: processes[it].freeze(), lambda it: processes[it].thaw(), 12.0
    )


async def cut_controller(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await _during(nemesis, nemesis.controller(), store.cut, store.resume, 12.0)


async def pause_controller(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await _during(nemesis, nemesis.controller(), store.pause, store.resume, 12.0)


async def freeze_agent(nemesis: Nemesis) -> None:
    name = nemesis.agent()
    processes = nemesis.world.processes
    await _during(
        nemesis, name, lambda it: processes[it].freeze(), lambda it: processes[it].thaw(), SHORT
    )


async def cut_agent(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await _during(nemesis, nemesis.agent(), store.cut, store.resume, SHORT)


async def pause_agent(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await _during(nemesis, nemesis.agent(), store.pause, store.resume, SHORT)


async def restart_agent(nemesis: Nemesis) -> None:
    """Killed, and started again soon. Its containers run on."""
    await _restart_agent(nemesis, SHORT)


async def _restart_agent(nemesis: Nemesis, seconds: float, *, with_machine: bool = False) -> None:
    if (name := nemesis.agent()) is None:
        return
    world = nemesis.world
    nemesis.troubled.add(name)
    try:
        await world.kill_agent(name)
        if with_machine:
            world.machines[name].host.reboot()
        await nemesis.wait(seconds)
    finally:
        world.store.resume(name)
        world.start_agent(name)
        nemesis.troubled.discard(name)


async def stop_agent(nemesis: Nemesis) -> None:
    """In good order, and started again."""
    if (name := nemesis.agent()) is None:
        return
    machine = nemesis.world.machines[name]
    assert machine.life
    nemesis.troubled.add(name)
    machine.stop.set()
    try:
        await asyncio.wait([machine.life])
        await nemesis.wait(SHORT)
    finally:
        nemesis.troubled.discard(name)
        if machine.life.done():
            nemesis.world.start_agent(name)


async def reboot(nemesis: Nemesis) -> None:
    """The whole machine dies, and comes back."""
    await _restart_agent(nemesis, 90.0, with_machine=True)


async def lose_agent(nemesis: Nemesis) -> None:
    """Cut off for so long that its instances are given up, though they run on."""
    store = nemesis.world.store
    await _during(nemesis, nemesis.agent(), store.cut, store.resume, 90.0)


async def crash(nemesis: Nemesis) -> None:
    """A container ends by itself."""
    hosts = [machine.host for machine in nemesis.world.machines.values()]
    running = [(host, id) for host in hosts for id in sorted(host.containers)]
    if running:
        host, container_id = nemesis.rng.choice(running)
        host.crash(container_id, 3)


async def meanness(nemesis: Nemesis) -> None:
    """The network between everybody and the store is at its worst."""
    names = [*nemesis.world.machines, *nemesis.world.controllers]
    store = nemesis.world.store
    store.treat(MEAN, *names)
    try:
        await nemesis.wait(20.0)
    finally:
        store.treat(CALM, *names)


async def outage(nemesis: Nemesis) -> None:
    """Nobody reaches the store."""
    await _cut_all(nemesis, [*nemesis.world.machines, *nemesis.world.controllers])


async def cut_all_agents(nemesis: Nemesis) -> None:
    """The nodes' network is away, and comes back for one after the other."""
    await _cut_all(nemesis, list(nemesis.world.machines))


async def _cut_all(nemesis: Nemesis, names: list[str]) -> None:
    store = nemesis.world.store
    async with nemesis.alone():
        for name in names:
            store.cut(name)
        try:
            await nemesis.wait(120.0)
            for name in nemesis.rng.sample(names, len(names)):
                store.resume(name)
                await nemesis.wait(3.0)
        finally:
            for name in names:
                store.resume(name)


async def break_watches(nemesis: Nemesis) -> None:
    nemesis.world.store.break_watches(*nemesis.world.machines, *nemesis.world.controllers)


async def compact(nemesis: Nemesis) -> None:
    engine = nemesis.world.store.engine
    if engine.compacted < engine.revision:
        engine.compact(engine.revision)


async def change_store_leader(nemesis: Nemesis) -> None:
    nemesis.world.store.change_leader()


async def fill_store(nemesis: Nemesis) -> None:
    """Over quota: no writes, no leases; until somebody makes room."""
    quota = nemesis.world.store.engine.quota
    async with nemesis.alone():
        quota.raise_alarm()
        try:
            await nemesis.wait(20.0)
        finally:
            quota.alarms.clear()


CONTROL_PLANE: tuple[Fault, ...] = (
    kill_controller,
    stop_controller,
    freeze_controller,
    cut_controller,
    pause_controller,
    freeze_agent,
    cut_agent,
    pause_agent,
    restart_agent,
    stop_agent,
    meanness,
    outage,
    cut_all_agents,
    break_watches,
    compact,
    change_store_leader,
    fill_store,
)
NODES: tuple[Fault, ...] = (reboot, lose_agent, crash)
