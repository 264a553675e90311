"""`Draft`: one workload while it is being planned; the only thing that planners change.

It holds the instances as the actions so far would leave them, the actions themselves, the
slots to be filled, and what waits for what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from orchestrator.model.actions import Action, Forget, Place, Stop
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from orchestrator.planning.members import Condition, Member


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A slot that wants a new attempt: why, after how many failures in a row, and whose place
    it takes. `replaces` is forgotten in the transaction that fills the slot."""

    slot: int
    why: str
    failures: int = 0
    avoid: str = ""
    replaces: Member | None = None


@dataclass(slots=True)
class Draft:
    """`spec` None: the workload is no longer wanted. `generation` is the wanted one."""

    key: WorkloadKey
    spec: WorkloadDefinition | None
    generation: int
    members: list[Member]
    attempt_floor: int
    actions: list[Action] = field(default_factory=list)
    vacancies: list[Vacancy] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    wake_at: float | None = None
    is_unplaced: bool = False

    def wanted(self) -> list[Member]:
        return [member for member in self.members if member.is_wanted]

    def having(self, condition: Condition) -> Iterator[Member]:
        """Over a copy, so that the loop's body may stop and forget."""
        return iter([member for member in self.members if member.condition is condition])

    def stop(self, member: Member, reason: str) -> None:
        """No longer wanted. What has ended already is forgotten at once."""
        if member.condition is Condition.FINISHED:
            self.forget(member, reason)
            return
        self.actions.append(Stop(member.place, reason))
        stopping = replace(
            member,
            assignment=replace(member.assignment, wanted=Wanted.STOPPED, reason=reason),
            condition=Condition.STOPPING,
        )
        self.members[self.members.index(member)] = stopping

    def forget(self, member: Member, reason: str) -> None:
        """It is confirmed gone. Its attempt is remembered, so that no name comes twice."""
        self.members.remove(member)
        self.actions.append(Forget(member.place, reason, with_observation=member.is_node_gone))
        self.attempt_floor = max(self.attempt_floor, member.attempt)

    def place(self, vacancy: Vacancy, node: str, because: str) -> None:
        """Fill the slot on `node`, and forget whom the new attempt replaces."""
        name = self.next_name(vacancy)
        assignment = Assignment(
            namespace=name.namespace,
            workload=name.workload,
            generation=self.generation,
            slot=name.slot,
            attempt=name.attempt,
            wanted=Wanted.RUNNING,
            reason=f"{vacancy.why}; {because}",
            failures=vacancy.failures,
        )
        if (old := vacancy.replaces) is not None and old in self.members:
            self.members.remove(old)
            self.actions.append(Forget(old.place, f"replaced by {name}"))
        place = InstancePlace(node, name)
        self.actions.append(Place(place, assignment))
        self.members.append(Member(place, assignment, 0, Condition.STARTING))

    def next_name(self, vacancy: Vacancy) -> InstanceName:
        attempts = [member.attempt for member in self.members if member.slot == vacancy.slot]
        attempt = max([self.attempt_floor, *attempts]) + 1
        return InstanceName(self.key.namespace, self.key.name, vacancy.slot, attempt)

    def wait(self, reason: str, until: float | None = None) -> None:
        """Not now, and why; `until` if time alone will change the answer."""
        self.waiting.append(reason)
        if until is not None:
            self.wake_at = until if self.wake_at is None else min(self.wake_at, until)
