"""`Workers`: carry out one step at a time for each instance, all instances at once.

Whatever happens, whoever wakes it, `look` compares what is assigned with what there is, and
starts the next step of each instance that has none under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import structlog

from orchestrator.agent.assignments import Assigned, Assignments, Templates
from orchestrator.agent.contact import Contact
from orchestrator.agent.fencing import Fencing
from orchestrator.agent.local_care import LocalCare
from orchestrator.agent.metrics import AgentMetrics
from orchestrator.agent.ports import HostPort, PortPicker
from orchestrator.agent.preparation import Preparation
from orchestrator.agent.reporter import Reporter
from orchestrator.agent.restarts import LocalRestarts
from orchestrator.agent.specs import container_specs, wanted_ports
from orchestrator.agent.steps import (
    Clear,
    Restart,
    Situation,
    Start,
    Step,
    StopAll,
    has_ended,
    next_step,
    observe,
)
from orchestrator.model import errors
from orchestrator.model.instance import Assignment, InstanceName
from orchestrator.model.workload import WorkloadTemplate
from orchestrator.runtime.protocol import ContainerRuntime, ContainerState, ContainerStatus
from store.errors import StoreError
from store.patience import Clock

log = structlog.get_logger()

Containers = Mapping[InstanceName, Sequence[ContainerStatus]]
"""All that the runtime has, by instance."""

RETRY_SECONDS = 1.0
"""After a step that failed, be it by a bug of ours: one instance's must not end the agent, and with
it the node, and after that the next node which the instance is moved to."""


class Workers:
    def __init__(
        self,
        node: str,
        runtime: ContainerRuntime,
        *,
        assignments: Assignments,
        templates: Templates,
        preparation: Preparation,
        reporter: Reporter,
        care: LocalCare,
        fencing: Fencing,
        contact: Callable[[], Contact],
        clock: Clock,
        ports: PortPicker,
        metrics: AgentMetrics,
        wake: Callable[[], None],
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._assignments = assignments
        self._templates = templates
        self._preparation = preparation
        self._reporter = reporter
        self._care = care
        self._fencing = fencing
        self._contact = contact
        self._clock = clock
        self._ports = ports
        self._metrics = metrics
        self._wake = wake
        self._busy: dict[InstanceName, asyncio.Task[None]] = {}
        self._start_failures: dict[tuple[InstanceName, int], str] = {}
        self._picked: dict[InstanceName, list[HostPort]] = {}
        self._progress: dict[InstanceName, str] = {}
        self._is_shutting_down = False

    async def look(self) -> None:
        """Observe, report, and start the steps that are due."""
        containers = await self._runtime.list()
        there = _by_instance(containers)
        assigned = self._assignments.by_name
        self._care.take_back(self._contact())
        names = sorted({*there, *assigned, *self._reporter.reported, *self._busy})
        for name in names:
            if self._is_left_alone(name):
                continue
            if name in self._busy:
                self._follow_preparation(name, there)
                continue
            waits_for = self._waits_for(assigned.get(name), there)
            self._advance(name, self._situation(name, there, waits_for))
        await self._fencing.match(containers, assigned)
        self._metrics.count_instances(list(self._reporter.reported.values()))

    def _is_left_alone(self, name: InstanceName) -> bool:
        """What nobody can say anything of, before the store has answered or because of damage."""
        if self._is_shutting_down:
            return False
        return name in self._assignments.unreadable or not self._assignments.knows_of(name)

    async def shut_down(self) -> None:
        """Stop every instance and report it; the node is going away in good order."""
        self._is_shutting_down = True
        while True:
            await self.look()
            if not self._busy:
                return
            await asyncio.wait(self._busy.values(), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Let go of the steps under way; the next life of this agent takes them up again."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _advance(self, name: InstanceName, situation: Situation) -> None:
        observation = observe(situation)
        if observation is not None:
            if self._care.must_be_concluded(situation, observation):
                self._occupy(name, self._care.conclude(name, observation))
                return
            self._reporter.report(name, observation)
            self._care.attend(situation, observation)
        step = next_step(situation)
        if step is not None:
            self._occupy(name, self._carry_out(name, situation, step))
        elif situation.assignment is None:
            self._forget(name)

    def _follow_preparation(self, name: InstanceName, there: Containers) -> None:
        """Say how far the pulling of its images is; give it up if nobody wants it any more."""
        if name not in self._progress:
            return
        situation = self._situation(name, there)
        observation = observe(situation)
        if not situation.is_wanted:
            self._busy[name].cancel()
        elif observation is not None:
            self._reporter.report(name, observation)

    def _waits_for(self, assigned: Assigned | None, there: Containers) -> tuple[str, ...]:
        after = assigned.after if assigned is not None else ()
        return tuple(str(each) for each in after if not self._has_ended(each, there))

    def _has_ended(self, name: InstanceName, there: Containers) -> bool:
        """A step under way may yet start it, and so may a row that nobody can read now."""
        if name in self._busy or name in self._assignments.unreadable:
            return False
        return has_ended(self._situation(name, there))

    def _situation(
        self, name: InstanceName, there: Containers, waits_for: tuple[str, ...] = ()
    ) -> Situation:
        assigned = self._assignments.by_name.get(name)
        containers = tuple(there.get(name, ()))
        if assigned is None:
            return Situation(None, 0, containers, is_shutting_down=self._is_shutting_down)
        reported = self._reporter.reported.get(name)
        return Situation(
            assignment=assigned.assignment,
            revision=assigned.revision,
            containers=containers,
            reported=reported if reported and reported.assignment == assigned.revision else None,
            start_failure=self._start_failures.get((name, assigned.revision), ""),
            is_shutting_down=self._is_shutting_down,
            waits_for=waits_for,
            progress=self._progress.get(name, ""),
            now=self._clock(),
            contact=self._contact(),
            restarts=self._restarts(name, assigned.revision),
            is_fenced=self._fencing.is_due(assigned.assignment),
        )

    def _restarts(self, name: InstanceName, revision: int) -> LocalRestarts | None:
        resident = self._care.residents.find(name, revision)
        return resident.restarts if resident is not None else None

    async def _carry_out(self, name: InstanceName, situation: Situation, step: Step) -> None:
        self._metrics.steps.labels(type(step).__name__).inc()
        try:
            if isinstance(step, Start):
                await self._start(name, situation)
            elif isinstance(step, Restart):
                await self._restart(name, situation)
            else:
                await self._end(situation, step)
        except (errors.RuntimeError, errors.NetworkError, StoreError) as error:
            log.error("a step failed", instance=str(name), step=str(step), problem=str(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _start(self, name: InstanceName, situation: Situation) -> None:
        assert situation.assignment is not None
        try:
            template = await self._templates.fetch(situation.assignment, situation.revision)
            with self._metrics.start_seconds.time():
                await self._create_all(situation.assignment, situation.revision, template)
        except (errors.RuntimeError, errors.StateError) as error:
            log.error("an instance does not start", instance=str(name), problem=str(error))
            self._metrics.start_failures.inc()
            self._start_failures[name, situation.revision] = str(error)
            return
        log.info("an instance has started", instance=str(name))

    async def _restart(self, name: InstanceName, situation: Situation) -> None:
        assert situation.assignment is not None
        specs = self._care.specs(name, situation.revision)
        await self._fencing.announce(situation.assignment, specs)
        self._fencing.check(situation.assignment)
        await self._care.restart(name, situation)

    async def _create_all(
        self, assignment: Assignment, revision: int, template: WorkloadTemplate
    ) -> None:
        wanted = wanted_ports(template)
        taken = self._taken(await self._runtime.list()) if wanted else {}
        ports = self._ports.pick(wanted, taken)
        protocols = [protocol for protocol, _ in wanted]
        self._picked[assignment.name] = list(zip(protocols, ports, strict=True))
        tell = partial(self._tell, assignment.name)
        async with self._preparation.ready(assignment, template, tell) as images:
            self._progress.pop(assignment.name, None)
            specs = container_specs(
                assignment, revision, self._node, template, ports, images=images
            )
            await self._fencing.announce(assignment, specs)
            for spec in specs:
                self._fencing.check(assignment)
                await self._runtime.create(spec)

    def _tell(self, name: InstanceName, progress: str) -> None:
        self._progress[name] = progress
        self._wake()

    def _taken(self, containers: Iterable[ContainerStatus]) -> dict[HostPort, str]:
        """Who has which host port. What has exited has let go of its own: its successor in the
        slot may want the same one on this very node."""
        taken = {
            (port.protocol.value, port.host_port): each.spec.instance
            for each in containers
            if each.state is not ContainerState.EXITED
            for port in each.spec.ports
        }
        for name, ports in self._picked.items():
            taken.update(dict.fromkeys(ports, str(name)))
        return taken

    async def _end(self, situation: Situation, step: StopAll | Clear) -> None:
        """Stop what runs, each with its own grace: what nobody wants may still end in order."""
        ending = [each for each in situation.containers if each.spec.id in step.container_ids]
        await asyncio.gather(
            *(
                self._runtime.stop(each.spec.id, each.spec.stop_grace_seconds)
                for each in ending
                if each.state is ContainerState.RUNNING
            )
        )
        if isinstance(step, Clear):
            await asyncio.gather(*(self._runtime.remove(each) for each in step.container_ids))

    def _forget(self, name: InstanceName) -> None:
        self._reporter.retract(name)
        self._care.residents.drop(name)
        for key in [key for key in self._start_failures if key[0] == name]:
            del self._start_failures[key]

    def _done(self, name: InstanceName) -> None:
        task = self._busy.pop(name)
        self._picked.pop(name, None)
        self._progress.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._wake()
            return
        log.error("a step broke: this is a bug", instance=str(name), exc_info=error)
        self._occupy(name, asyncio.sleep(RETRY_SECONDS))

    def _occupy(self, name: InstanceName, work: Coroutine[Any, Any, None]) -> None:
        task = self._busy[name] = asyncio.create_task(work)
        task.add_done_callback(lambda _task: self._done(name))


_instance = lru_cache(4096)(InstanceName.parse)
"""Each look meets the same names again."""


def _by_instance(containers: Iterable[ContainerStatus]) -> Containers:
    by_instance: dict[InstanceName, list[ContainerStatus]] = {}
    for container in containers:
        by_instance.setdefault(_instance(container.spec.instance), []).append(container)
    return by_instance
