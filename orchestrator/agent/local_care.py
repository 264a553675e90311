"""`LocalCare`: what a node does by itself for what runs on it while nobody can be told."""

from __future__ import annotations

import structlog

from orchestrator.agent.contact import Contact
from orchestrator.agent.preparation import Preparation
from orchestrator.agent.reporter import Reporter
from orchestrator.agent.residents import Resident, Residents
from orchestrator.agent.steps import Situation, past_exit
from orchestrator.model import errors
from orchestrator.model.instance import (
    ExitCause,
    InstanceName,
    InstanceObservation,
    PastExit,
    WorkloadInstanceStatus,
)
from orchestrator.runtime.protocol import ContainerRuntime, ContainerSpec
from store.patience import Clock

log = structlog.get_logger()


class LocalCare:
    """Keeps the list of residents, and restarts them. Its errors are the runtime's."""

    def __init__(
        self,
        residents: Residents,
        reporter: Reporter,
        runtime: ContainerRuntime,
        preparation: Preparation,
        clock: Clock,
    ) -> None:
        self.residents = residents
        self._reporter = reporter
        self._runtime = runtime
        self._preparation = preparation
        self._clock = clock
        self._concluded: dict[InstanceName, Resident] = {}

    def attend(self, situation: Situation, observation: InstanceObservation) -> None:
        """Note who has come to run here, and when what was held has ended."""
        assignment = situation.assignment
        assert assignment is not None
        resident = self.residents.find(assignment.name, situation.revision)
        if not situation.is_wanted:
            self.residents.drop(assignment.name)
        elif resident is None:
            if observation.status is WorkloadInstanceStatus.RUNNING:
                specs = tuple(each.spec for each in situation.own)
                self.residents.keep(Resident(assignment, situation.revision, observation, specs))
        elif situation.is_held and not situation.running() and resident.restarts.due_at is None:
            told, lived_seconds = past_exit(situation)
            self._note_end(resident, told, lived_seconds)

    def must_be_concluded(self, situation: Situation, observation: InstanceObservation) -> bool:
        """Whether the disk has to forget it before its end is said."""
        assert situation.assignment is not None
        return observation.status.is_finished and (
            situation.assignment.name in self.residents.by_name
        )

    async def conclude(self, name: InstanceName, observation: InstanceObservation) -> None:
        """Say that it has ended. From then on it is not restarted."""
        resident = self.residents.by_name.get(name)
        self.residents.drop(name)
        await self.residents.save()
        self._reporter.report(name, observation)
        is_crash = observation.cause is ExitCause.EXITED
        if is_crash and resident is not None and resident.revision == observation.assignment:
            self._concluded[name] = resident

    def take_back(self, contact: Contact) -> None:
        """Ends that were said when the store was gone already: it has heard nothing of them."""
        for name, resident in list(self._concluded.items()):
            if self._reporter.is_written(name):
                del self._concluded[name]
            elif contact.is_cut_off and self._reporter.take_back(name, resident.observation):
                del self._concluded[name]
                self.residents.keep(resident)

    def specs(self, name: InstanceName, revision: int) -> tuple[ContainerSpec, ...]:
        """What it is restarted from; nothing if it is no resident."""
        resident = self.residents.find(name, revision)
        return resident.specs if resident is not None else ()

    async def restart(self, name: InstanceName, situation: Situation) -> None:
        """As the same instance. It is counted before it is tried, and removed before it starts."""
        resident = self.residents.find(name, situation.revision)
        if resident is None:
            return
        resident = self.residents.note(resident, resident.restarts.begun())
        await self.residents.save()
        for container in situation.containers:
            await self._runtime.remove(container.spec.id)
        try:
            with self._preparation.again(resident.specs):
                for spec in resident.specs:
                    await self._runtime.create(spec)
        except errors.RuntimeError as error:
            self._note_end(resident, PastExit("", str(error)), 0.0)
            raise
        log.warning(
            "an instance is restarted by its node, which is cut off",
            instance=str(name),
            restarts=resident.restarts.count,
            reason=resident.restarts.told(),
        )

    def _note_end(self, resident: Resident, told: PastExit, lived_seconds: float) -> None:
        restarts = resident.restarts.ended(resident.assignment, told, lived_seconds, self._clock())
        self.residents.note(resident, restarts)
