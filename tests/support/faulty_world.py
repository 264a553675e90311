"""A world in which things go wrong, by a seed, and the judge of what became of it."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.cluster.view import ClusterView
from orchestrator.controller.committer import LeadershipLost
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition, WorkloadKey
from orchestrator.runtime.protocol import ContainerState
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import SimulatedHost
from store.errors import NoSpace
from store.values import Event
from tests.support.freezing import Process, become
from tests.support.history import History, Violation
from tests.support.planned_cluster import web
from tests.support.sightings import (
    Run,
    WatchedHost,
    overlaps,
    silences,
    stops,
    unasked_stops,
    was_lost,
)
from tests.support.store_history import violations
from tests.support.virtual_time import virtual_now
from tests.support.world import Machine, World

STEPS_A_QUIET_MINUTE = 5000
SPOILT = b"{"
GIVEN_UP = "has been unreachable for"


class FaultyWorld(World):
    """Ended processes are started again, as by systemd; frozen ones are not.

    `deaths` are the errors that processes ended with by themselves.
    """

    def __init__(self, path: Path, *, seed: int) -> None:
        self.views: dict[str, ClusterView] = {}
        super().__init__(path, seed=seed)
        self.history = History()
        self.time_of: dict[int, float] = {}
        self.seen: list[Run] = []
        self.processes: dict[str, Process] = {}
        self.deaths: list[BaseException] = []
        self.desired: dict[WorkloadKey, WorkloadDefinition] = {}
        self.waiting_workloads: set[WorkloadKey] = set()
        self.store.observe(self._note)

    def _note(self, revision: int, events: tuple[Event, ...]) -> None:
        self.time_of[revision] = virtual_now()
        self.history.record(revision, events)

    def _new_host(self, name: str) -> SimulatedHost:
        return WatchedHost(name, virtual_now, random.Random(self.rng.random()), self.seen)

    def _new_view(self, name: str) -> ClusterView:
        view = super()._new_view(name)
        self.views[name] = view
        return view

    def _enter(self, name: str) -> None:
        process = self.processes[name] = Process()
        become(process)

    async def _controller(self, name: str) -> None:
        self._enter(name)
        await super()._controller(name)

    async def _agent(self, machine: Machine, runtime: SimulatedRuntime) -> None:
        self._enter(machine.name)
        await super()._agent(machine, runtime)

    # Processes

    async def supervise(self) -> None:
        """Start again, a second later, what has ended by itself."""
        while True:
            await asyncio.sleep(1.0)
            self._restart_ended()

    def _restart_ended(self) -> None:
        for name, task in self.controllers.items():
            if self._has_died(task):
                self.start_controller(name)
        for name, machine in self.machines.items():
            if machine.life is not None and self._has_died(machine.life):
                self.start_agent(name)

    def _has_died(self, life: asyncio.Task[None]) -> bool:
        error = life.exception() if life.done() else None
        if error is not None:
            self.deaths.append(error)
        return error is not None

    def everybody(self) -> list[str]:
        """But people and onlookers."""
        return sorted([*self.machines, *self.controllers])

    def freeze(self, name: str) -> None:
        self.processes[name].freeze()

    def thaw(self, name: str) -> None:
        self.processes[name].thaw()

    # People

    async def want(self, spec: WorkloadDefinition) -> None:
        await self._insist(lambda: self.apply(spec))
        self.desired[spec.key] = spec
        if spec.on_node_lost is OnNodeLost.WAIT:
            self.waiting_workloads.add(spec.key)

    async def unwant(self, key: WorkloadKey) -> None:
        await self._insist(lambda: self.delete(key))
        self.desired.pop(key, None)

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await act()
            except NoSpace:
                await asyncio.sleep(1.0)

    # Judging

    async def settle(self, within: float = 700.0) -> None:
        """The faults are over: all becomes as it should be, and then nothing is written."""
        await self._until_settled(within)
        await asyncio.sleep(30.0)  # what the faults have delayed may still arrive
        await self._until_settled(60.0)
        revision, steps = self.store.engine.revision, self._steps()
        await asyncio.sleep(60.0)
        assert self.store.engine.revision == revision, self.history.entries[-5:]
        busy = {name: done - steps.get(name, 0) for name, done in self._steps().items()}
        assert max(busy.values()) < STEPS_A_QUIET_MINUTE, busy
        for name in self.controllers:
            assert self.views[name].mirror.versions == self._view.mirror.versions, name

    async def _until_settled(self, within: float) -> None:
        deadline = virtual_now() + within
        while troubles := self.troubles():
            assert virtual_now() < deadline, troubles
            await asyncio.sleep(0.1)

    def _steps(self) -> dict[str, int]:
        return {name: process.steps for name, process in self.processes.items()}

    def troubles(self) -> list[str]:
        """What is wanted and does not run, and what is left over anywhere."""
        state, wanted = self.state, set(self.wanted())
        keys = set(self.desired)
        counts = Counter(place.instance.workload_key for place in wanted)
        running = {(place.node, f"{place.instance}.app") for place in wanted}
        pairs = {
            "wanted": (
                dict(counts),
                {k: s.replicas for k, s in self.desired.items() if s.replicas},
            ),
            "workloads": (set(state.workloads), keys),
            "statuses": (set(state.statuses), keys),
            "templates": ({name.workload for name in state.templates}, keys),
            "assignments": (set(state.assignments), wanted),
            "observations": (set(state.observations), wanted),
            "containers": (self._running(), running),
        }
        return [
            f"{what}: {_told(has, should)}"
            for what, (has, should) in pairs.items()
            if has != should
        ]

    def _running(self) -> set[tuple[str, str]]:
        """Every container there is; one that has exited shows as another."""
        return {
            (node, name if each.status.state is ContainerState.RUNNING else f"{name} exited")
            for node, machine in self.machines.items()
            for name, each in machine.host.containers.items()
        }

    def judge(self, allowed: str) -> None:
        """What must never have happened. `allowed` are the leader's reasons to stop something."""
        entries = self.history.entries
        wrongs = [each for each in violations(entries) if not self._is_excused(each)]
        assert not wrongs, wrongs
        unexpected = [death for death in self.deaths if not _is_rightful(death)]
        assert not unexpected, unexpected
        given = stops(entries, self.time_of)
        assert not (doubles := overlaps(self.seen, self._may_be_replaced)), doubles
        assert not (unasked := unasked_stops(self.seen, given, re.compile(allowed))), unasked
        lost = [stop for stop in given if GIVEN_UP in stop.reason]
        assert all(self._was_lost(stop.place.node, stop.at) for stop in lost), lost

    def _is_excused(self, wrong: Violation) -> bool:
        """What people have spoilt. And a create that was carried out again when what it had
        created was gone (see "Strays" in `store.transactions`): its writer gets over it."""
        (entry,) = (
            each
            for each in self.history.entries
            if (each.revision, each.key) == (wrong.revision, wrong.key)
        )
        is_stray = "was carried out at" in wrong.says and entry.stamp["base"] == 0
        return is_stray or entry.value == SPOILT

    def _may_be_replaced(self, run: Run, at: float) -> bool:
        is_patient = run.place.instance.workload_key in self.waiting_workloads
        return not is_patient and self._was_lost(run.place.node, at)

    def _was_lost(self, node: str, at: float) -> bool:
        quiet = silences(self.history.entries, self.time_of, node)
        return was_lost(quiet, at, web().lost_after_seconds)


def _is_rightful(death: BaseException) -> bool:
    """Only leaders that may not be sure to lead end themselves."""
    if isinstance(death, BaseExceptionGroup):
        return all(_is_rightful(each) for each in death.exceptions)
    return isinstance(death, LeadershipLost)


def _told(has: object, should: object) -> str:
    if isinstance(has, set) and isinstance(should, set):
        return f"missing {should - has}, left over {has - should}"
    return f"{has}, not {should}"
