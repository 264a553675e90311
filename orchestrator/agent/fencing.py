"""`Fencing`: the agent's side of a node's promise to stop what it must not run for too long.

The promise itself is kept by a `Watchdog` (see "Theory of operation" in `runtime.watching`). Here
it is told what it needs to know, and nothing is started that it would have to stop at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from orchestrator.agent.assignments import Assigned
from orchestrator.agent.contact import Standing
from orchestrator.model import errors
from orchestrator.model.instance import Assignment, FenceTerms, InstanceName
from orchestrator.runtime.protocol import (
    ContainerRuntime,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
)
from orchestrator.runtime.watching import Ward, Watchdog
from store.patience import Clock

log = structlog.get_logger()


class Fencing:
    """`watchdog` None: this node has none, promises nothing, and stops nothing for it.
    `tell` is called when it is to be said whether one is at work."""

    def __init__(
        self,
        watchdog: Watchdog | None,
        runtime: ContainerRuntime,
        standing: Standing,
        clock: Clock,
        tell: Callable[[bool], None],
    ) -> None:
        self._watchdog = watchdog
        self._runtime = runtime
        self._standing = standing
        self._clock = clock
        self._tell = tell
        self._wards = {each.container_id: each for each in watchdog.wards()} if watchdog else {}
        self._starting: dict[str, InstanceName] = {}

    def renew(self) -> None:
        """The session lasts until then, and so do the wards."""
        trusted_until, watchdog = self._standing.trusted_until(), self._watchdog
        if watchdog and trusted_until is not None and trusted_until > watchdog.trusted_until:
            watchdog.trust_until(trusted_until)

    def give_up_session(self) -> None:
        """To be called before its lease is revoked: the leader counts from then on."""
        self._standing.give_up()
        if self._watchdog is not None:
            self._watchdog.trust_until(min(self._clock(), self._watchdog.trusted_until))

    def is_due(self, assignment: Assignment) -> bool:
        """Whether it must not run here any more."""
        if self._watchdog is None or assignment.fence is None:
            return False
        return self._clock() >= self._watchdog.trusted_until + assignment.fence.after_seconds

    def check(self, assignment: Assignment) -> None:
        """Right before anything of it is started. Raises `NetworkError`."""
        if self.is_due(assignment):
            raise errors.NetworkError(
                f"{assignment.name} is not started while its node is cut off: on_node_lost is"
                " `fence`"
            )

    async def announce(self, assignment: Assignment, specs: Iterable[ContainerSpec]) -> None:
        """Before they are created: a watchdog has them on its list. Raises `RuntimeError`."""
        if self._watchdog is None or assignment.fence is None:
            return
        wards = {spec.id: self._ward(spec, assignment.fence) for spec in specs}
        await self._guard({**self._wards, **wards})
        self._starting |= dict.fromkeys(wards, assignment.name)
        await self.tend()

    async def match(
        self, containers: Iterable[ContainerStatus], assigned: Mapping[InstanceName, Assigned]
    ) -> None:
        """Let go of what is gone. What is there and unknown stays on the list that it is on."""
        is_idle = not self._wards and all(
            each.assignment.fence is None for each in assigned.values()
        )
        if self._watchdog is None or is_idle:
            return
        there = {
            each.spec.id: each.spec
            for each in containers
            if each.state is not ContainerState.EXITED
        }
        self._starting = {
            each: name
            for each, name in self._starting.items()
            if name in assigned and each not in there
        }
        wards = {each: self._wards[each] for each in self._starting}
        for spec in there.values():
            terms = _terms_of(spec, assigned)
            ward = self._ward(spec, terms) if terms else self._wards.get(spec.id)
            if ward is not None:
                wards[spec.id] = ward
        try:
            await self._guard(wards)
        except errors.RuntimeError as error:
            log.error("the watchdog's list is not up to date", problem=str(error))

    async def tend(self) -> None:
        if self._watchdog is not None:
            await self._watchdog.tend()
            self._tell(self._watchdog.is_at_work())

    async def _guard(self, wards: dict[str, Ward]) -> None:
        if wards != self._wards:
            assert self._watchdog is not None
            await self._watchdog.guard(list(wards.values()))
            self._wards = wards

    def _ward(self, spec: ContainerSpec, terms: FenceTerms) -> Ward:
        trace = self._runtime.trace(spec)
        return Ward(spec.id, trace, terms.after_seconds, terms.grace_seconds)


def _terms_of(spec: ContainerSpec, assigned: Mapping[InstanceName, Assigned]) -> FenceTerms | None:
    found = assigned.get(InstanceName.parse(spec.instance))
    if found is None or found.revision != spec.assignment:
        return None
    return found.assignment.fence
