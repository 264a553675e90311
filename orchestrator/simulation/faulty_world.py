"""A world in which things go wrong, and which is held to all promises meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.cluster.view import ClusterView
from orchestrator.controller.committer import LeadershipLost
from orchestrator.model.errors import ClusterError, NetworkError
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import SimulatedHost
from orchestrator.simulation.history import Violation
from orchestrator.simulation.invariants.epochs import BOUNDS_SECONDS, Bounds, Vacancy
from orchestrator.simulation.invariants.peace import unrest
from orchestrator.simulation.invariants.stops import ASKED_FOR
from orchestrator.simulation.judge import Judge
from orchestrator.simulation.loop import Process, become
from orchestrator.simulation.machine import Machine
from orchestrator.simulation.pauses import Pauses, PausingStore, TroubledRuntime, Troubles
from orchestrator.simulation.samples import PROGRAMS, cured
from orchestrator.simulation.sightings import WatchedHost
from orchestrator.simulation.virtual_time import virtual_now
from orchestrator.simulation.world import World
from store.errors import NoSpace, StoreReplaced
from store.protocol import Store

LOOK_SECONDS = 0.5
QUIET_SECONDS = 60.0
STEPS_A_QUIET_MINUTE = 8000

I4 = "I4 convergence"


class FaultyWorld(World):
    """Ended processes are started again, as by systemd; frozen ones are not."""

    def __init__(self, path: Path, *, seed: int, allowed: str = ASKED_FOR) -> None:
        self.views: dict[str, ClusterView] = {}
        super().__init__(path, seed=seed)
        self.judge = Judge(self.store, self.truth, allowed=allowed)
        self.pauses = Pauses(self._new_rng())
        self.troubles = Troubles(self._new_rng())
        self.processes: dict[str, Process] = {}
        self.calls: Counter[str] = Counter()
        self._steps: Counter[str] = Counter()

    def _new_rng(self) -> random.Random:
        return random.Random(self.rng.random())

    def _new_host(self, name: str) -> SimulatedHost:
        return WatchedHost(name, virtual_now, self._new_rng(), self.judge)

    def _new_view(self, name: str) -> ClusterView:
        view = self.views[name] = super()._new_view(name)
        self.judge.watch(name, view)
        return view

    def _store_of(self, name: str) -> Store:
        return PausingStore(self.store, name, self.pauses, self.calls)

    def _enter(self, name: str) -> None:
        if name in self.processes:
            self._steps[name] += self.processes[name].steps
        process = self.processes[name] = Process()
        become(process)

    def _let_go(self) -> None:
        self.pauses.share = 0.0
        for process in self.processes.values():
            process.thaw()

    async def _controller(self, name: str) -> None:
        self._enter(name)
        await super()._controller(name)

    async def _agent(self, machine: Machine, runtime: SimulatedRuntime) -> None:
        self._enter(machine.name)
        await super()._agent(machine, runtime)

    def _new_runtime(self, machine: Machine) -> SimulatedRuntime:
        return TroubledRuntime(machine.host, self.pauses, self.troubles, self.judge.spoilt)

    # Processes

    async def supervise(self) -> None:
        """Start again, a second later, what has ended by itself."""
        while True:
            await asyncio.sleep(1.0)
            self._restart_ended()

    def _restart_ended(self) -> None:
        for name, task in self.controllers.items():
            if self._has_died(name, task):
                self.start_controller(name)
        for name, machine in self.machines.items():
            if machine.life is not None and self._has_died(name, machine.life):
                self.start_agent(name)

    def _has_died(self, name: str, task: asyncio.Task[None]) -> bool:
        if not task.done() or task.cancelled() or not (error := task.exception()):
            return False
        if not _is_rightful(error):
            self.judge.tell("no crash", Violation(self.state.revision, name, repr(error)))
        return True

    async def bound(self) -> None:
        """Hold everybody to what is a decent number of requests and steps."""
        bounds = Bounds()
        while True:
            await asyncio.sleep(BOUNDS_SECONDS)
            for wrong in bounds.judged(self.state.revision, self.calls, self.steps()):
                self.judge.tell(bounds.name, wrong)

    async def be_led(self) -> None:
        """Hold the controllers to taking over in time."""
        vacancy = Vacancy()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            able = [name for name in self.controllers if self._could_lead(name)]
            for wrong in vacancy.judged(
                self.state.revision, virtual_now(), is_led=bool(self.leader), able=able
            ):
                self.judge.tell(vacancy.name, wrong)

    def _could_lead(self, name: str) -> bool:
        """It is up, and it and the store have no troubles."""
        is_up = not self.controllers[name].done() and not self.processes[name].is_frozen
        has_room = not self.store.engine.quota.alarms
        return is_up and has_room and self.store.link(name).is_fair

    def steps(self) -> Counter[str]:
        return self._steps + Counter({name: each.steps for name, each in self.processes.items()})

    def everybody(self) -> list[str]:
        return [*self.controllers, *self.machines]

    def freeze(self, name: str) -> None:
        self.processes[name].freeze()

    def thaw(self, name: str) -> None:
        self.processes[name].thaw()

    async def kill_controller(self, name: str) -> None:
        self.store.cut(name)
        self.thaw(name)  # so that what it holds in our own memory is let go
        await super().kill_controller(name)

    async def stop_controller(self, name: str) -> None:
        self.thaw(name)
        await super().stop_controller(name)

    async def kill_agent(self, name: str) -> None:
        self.store.cut(name)
        self.thaw(name)
        await super().kill_agent(name)

    # The store

    def restore(self, backup: bytes) -> None:
        """It is put back to that backup, and people tell every agent to obey it all the same."""
        self.store.restore(backup)
        self.truth.restored()
        self.judge.restored()
        for machine in self.machines.values():
            machine.accepts_store = True

    # People

    async def want(self, spec: WorkloadDefinition) -> None:
        await self._insist(lambda: self.apply(spec))

    async def unwant(self, key: WorkloadKey) -> None:
        await self._insist(lambda: self.delete(key))

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await act()
            except NoSpace:
                await asyncio.sleep(1.0)

    # The end

    def cure(self) -> None:
        """There is room in the store, and from now on all programs go on for ever."""
        self.store.engine.quota.alarms.clear()  # a backup may have been full
        for machine in self.machines.values():
            for command, program in PROGRAMS.items():
                machine.host.program(command, cured(program))

    async def settle(self, within: float = 700.0) -> None:
        """The faults are over: all becomes as it should be, and then nothing is written."""
        if not await self._has_settled(within):
            return
        await asyncio.sleep(QUIET_SECONDS / 2)  # what the faults have delayed may still arrive
        if not await self._has_settled(QUIET_SECONDS):
            return
        revision, steps = self.store.engine.revision, self.steps()
        await asyncio.sleep(QUIET_SECONDS)
        if self.store.engine.revision != revision:
            written = [entry.key for entry in self.judge.history.entries[-5:]]
            self._unsettled(f"nothing changes any more, but is written: {written}")
        for name, done in self.steps().items():
            if done - steps[name] > STEPS_A_QUIET_MINUTE:
                self._unsettled(f"{name} takes {done - steps[name]} steps in a minute of rest")
        self._compare_mirrors()

    def _compare_mirrors(self) -> None:
        mod_revisions = {kv.key: kv.mod_revision for kv in self.truth.rows()}
        for name in self.controllers:
            versions = self.views[name].mirror.versions
            if {key: each.mod_revision for key, each in versions.items()} != mod_revisions:
                self._unsettled(f"the mirror of {name} is not the store")

    async def _has_settled(self, within: float) -> bool:
        deadline = virtual_now() + within
        while troubles := list(unrest(self.state, self.machines)):
            if virtual_now() >= deadline:
                self._unsettled(f"after {within:g} s: {troubles}")
                return False
            await asyncio.sleep(1.0)
        return True

    def _unsettled(self, says: str) -> None:
        self.judge.tell(I4, Violation(self.state.revision, "the cluster", says))


def _is_rightful(death: BaseException) -> bool:
    """Leaders that may not be sure to lead end themselves, and so do those who meet a store that
    is not the one they knew, or behind it."""
    if isinstance(death, BaseExceptionGroup):
        return all(_is_rightful(each) for each in death.exceptions)
    return isinstance(death, LeadershipLost | StoreReplaced | ClusterError | NetworkError)
