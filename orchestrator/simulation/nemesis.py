"""Faults, drawn by a seed: each befalls somebody for a while, and then is over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from orchestrator.simulation.faulty_world import FaultyWorld
from orchestrator.simulation.virtual_time import virtual_now
from store.memory.meanness import CALM, Meanness

MEAN = Meanness(
    request_seconds=(0.0, 0.2),
    reply_seconds=(0.0, 0.2),
    refused=0.05,
    lost_request=0.05,
    lost_reply=0.05,
    late_commit=0.05,
    late_seconds=(0.0, 10.0),
    cut_seconds=(0.0, 2.0),
    lease_lost=0.01,
    watch_seconds=(0.0, 0.5),
    watch_repeated=0.05,
    watch_broken=0.03,
    watch_compacted=0.01,
    fragment_events=2,
)
FORGETFUL = Meanness(stale_read=0.3, stale_revisions=10, watch_seconds=(0.0, 0.5))

PATIENCE_SECONDS = 40.0

SHORT = 25.0
"""Seconds that an agent may be away: with its lease's less than what makes its node a lost one."""


class Fault(Protocol):
    """What befalls somebody; it is over when it returns."""

    __name__: str

    def __call__(self, nemesis: Nemesis, /) -> Awaitable[None]: ...


class Nemesis:
    """One fault at a time for each process; any number of them at once."""

    def __init__(self, world: FaultyWorld, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.schedule: list[str] = []
        self.befallen: Counter[str] = Counter()
        self._troubled: set[str] = set()
        self._alone = asyncio.Lock()
        self._is_over = asyncio.Event()

    async def rage(
        self, seconds: float, faults: Sequence[Fault], pause_seconds: float = 3.0
    ) -> None:
        """At the end all faults are over. `pause_seconds` lie between two, on the average."""
        end = virtual_now() + seconds
        async with asyncio.TaskGroup() as raging:
            while virtual_now() < end:
                raging.create_task(self._befall(self.rng.choice(faults)))
                await asyncio.sleep(self.rng.uniform(0.0, 2.0 * pause_seconds))
            self._is_over.set()

    async def _befall(self, fault: Fault) -> None:
        name = fault.__name__
        self.befallen[name] += 1
        self._note(f"{name} begins")
        await fault(self)
        self._note(f"{name} ends")

    def _note(self, what: str) -> None:
        self.schedule.append(f"{virtual_now():9.3f} {what}")

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
        return [] if self._alone.locked() else sorted(set(names) - self._troubled)

    @contextmanager
    def troubling(self, name: str) -> Iterator[None]:
        self._troubled.add(name)
        self._note(f"  it is {name}")
        try:
            yield
        finally:
            self._troubled.discard(name)

    async def when_alone(self, act: Callable[[], Awaitable[None]]) -> None:
        """While no process has other troubles, and nodes have the sessions that they had; if that
        does not come about for a while, or somebody else waits for it, nothing happens."""
        if self._alone.locked():
            return
        async with self._alone:
            deadline = virtual_now() + PATIENCE_SECONDS
            while self._troubled or set(self.world.machines) != set(self.world.state.sessions):
                if virtual_now() > deadline:
                    return
                await asyncio.sleep(1.0)
            await act()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.rng.uniform(0.0, seconds)):
                await self._is_over.wait()

    async def during(
        self,
        name: str | None,
        begin: Callable[[str], None],
        end: Callable[[str], None],
        seconds: float,
    ) -> None:
        """None: there is nobody to befall."""
        if name is None:
            return
        with self.troubling(name):
            begin(name)
            await self.wait(seconds)
            end(name)


# Controllers


async def kill_controller(nemesis: Nemesis) -> None:
    if (name := nemesis.controller()) is not None:
        with nemesis.troubling(name):
            await nemesis.world.kill_controller(name)
            await nemesis.wait(5.0)
            nemesis.world.start_controller(name)


async def stop_controller(nemesis: Nemesis) -> None:
    if (name := nemesis.controller()) is not None:
        with nemesis.troubling(name):
            await nemesis.world.stop_controller(name)
            nemesis.world.start_controller(name)


async def freeze_controller(nemesis: Nemesis) -> None:
    world = nemesis.world
    await nemesis.during(nemesis.controller(), world.freeze, world.thaw, 12.0)


async def cut_controller(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await nemesis.during(nemesis.controller(), store.cut, store.resume, 12.0)


async def pause_controller(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await nemesis.during(nemesis.controller(), store.pause, store.resume, 12.0)


async def show_controllers_the_past(nemesis: Nemesis) -> None:
    await _treat(nemesis, FORGETFUL, list(nemesis.world.controllers))


# Agents, which come back before their nodes are given up


async def freeze_agent(nemesis: Nemesis) -> None:
    world = nemesis.world
    await nemesis.during(nemesis.agent(), world.freeze, world.thaw, SHORT)


async def cut_agent(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await nemesis.during(nemesis.agent(), store.cut, store.resume, SHORT)


async def pause_agent(nemesis: Nemesis) -> None:
    store = nemesis.world.store
    await nemesis.during(nemesis.agent(), store.pause, store.resume, SHORT)


async def restart_agent(nemesis: Nemesis) -> None:
    """Killed, and started again soon. Its containers run on."""
    await _kill_for(nemesis, SHORT, lambda _name: None)


async def stop_agent(nemesis: Nemesis) -> None:
    """In good order, and started again."""
    if (name := nemesis.agent()) is None:
        return
    machine = nemesis.world.machines[name]
    assert machine.life
    with nemesis.troubling(name):
        machine.stop.set()
        await asyncio.wait([machine.life])
        await nemesis.wait(SHORT)
        nemesis.world.start_agent(name)


# Nodes


async def reboot(nemesis: Nemesis) -> None:
    """The whole machine dies, and comes back."""
    machines = nemesis.world.machines
    await _kill_for(nemesis, 90.0, lambda name: machines[name].host.reboot())


async def lose_agent(nemesis: Nemesis) -> None:
    """Cut off for so long that its instances are given up, though they run on."""
    store = nemesis.world.store
    await nemesis.during(nemesis.agent(), store.cut, store.resume, 90.0)


async def crash(nemesis: Nemesis) -> None:
    """A container ends by itself."""
    hosts = [machine.host for machine in nemesis.world.machines.values()]
    containers = [(host, name) for host in hosts for name in sorted(host.containers)]
    if containers:
        host, name = nemesis.rng.choice(containers)
        host.crash(name, 3)


async def _kill_for(nemesis: Nemesis, seconds: float, befall: Callable[[str], None]) -> None:
    if (name := nemesis.agent()) is not None:
        with nemesis.troubling(name):
            await nemesis.world.kill_agent(name)
            befall(name)
            await nemesis.wait(seconds)
            nemesis.world.start_agent(name)


# The store and the network


async def meanness(nemesis: Nemesis) -> None:
    """The network between everybody and the store is at its worst."""
    await _treat(nemesis, MEAN, nemesis.world.everybody())


async def _treat(nemesis: Nemesis, how: Meanness, names: list[str]) -> None:
    nemesis.world.store.treat(how, *names)
    await nemesis.wait(20.0)
    nemesis.world.store.treat(CALM, *names)


async def outage(nemesis: Nemesis) -> None:
    """Nobody reaches the store."""
    await _cut_all(nemesis, nemesis.world.everybody())


async def cut_all_agents(nemesis: Nemesis) -> None:
    """The nodes' network is away, and comes back for one after the other."""
    await _cut_all(nemesis, list(nemesis.world.machines))


async def _cut_all(nemesis: Nemesis, names: list[str]) -> None:
    store = nemesis.world.store

    async def cut() -> None:
        for name in names:
            store.cut(name)
        await nemesis.wait(120.0)
        for name in nemesis.rng.sample(names, len(names)):
            store.resume(name)
            await nemesis.wait(3.0)

    await nemesis.when_alone(cut)


async def fill_store(nemesis: Nemesis) -> None:
    """Over quota: no writes, no leases; until somebody makes room."""
    quota = nemesis.world.store.engine.quota

    async def fill() -> None:
        quota.raise_alarm()
        await nemesis.wait(20.0)
        quota.alarms.clear()

    await nemesis.when_alone(fill)


async def break_watches(nemesis: Nemesis) -> None:
    nemesis.world.store.break_watches(*nemesis.world.everybody())


async def compact(nemesis: Nemesis) -> None:
    engine = nemesis.world.store.engine
    if engine.compacted < engine.revision:
        engine.compact(engine.revision)


async def change_store_leader(nemesis: Nemesis) -> None:
    nemesis.world.store.change_leader()


async def restore_backup(nemesis: Nemesis) -> None:
    """The store is put back to what it was some time before; once is enough."""
    if nemesis.befallen[restore_backup.__name__] > 1:
        return
    backup = nemesis.world.store.backup()
    await nemesis.wait(60.0)

    async def restore() -> None:
        nemesis.world.restore(backup)

    await nemesis.when_alone(restore)


CONTROL_PLANE: tuple[Fault, ...] = (
    kill_controller,
    stop_controller,
    freeze_controller,
    cut_controller,
    pause_controller,
    show_controllers_the_past,
    freeze_agent,
    cut_agent,
    pause_agent,
    restart_agent,
    stop_agent,
    meanness,
    outage,
    cut_all_agents,
    fill_store,
    break_watches,
    compact,
    change_store_leader,
)
NODES: tuple[Fault, ...] = (reboot, lose_agent, crash)
STORE: tuple[Fault, ...] = (restore_backup,)
