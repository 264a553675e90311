"""Vacant slots of all workloads go to the scheduler in one batch.

Who is placed where others must give way is kept apart: newcomer and victims are one `Displacing`,
which is committed as a whole or not at all. So is all of a gang, if any of it displaces others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from orchestrator.model.actions import Action
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.loss import Brake
from orchestrator.planning.members import Condition, Member
from orchestrator.planning.occupancy import Occupancy
from orchestrator.scheduler.protocol import (
    AssignNode,
    NoPlacement,
    ScheduleDecision,
    Scheduler,
    ScheduleRequest,
    Victim,
    in_turn,
)

MAX_UNIT_OPS = 128
"""All of a `Displacing` must go into one transaction."""
OPS_OF_WORKLOAD = 3
"""For each workload of which somebody gives way: two guarded rows and an event."""
OPS_OF_NEWCOMERS = 6
"""The same for theirs, which may have three kinds of events, and the leader's own guard."""

Placing = tuple[Vacancy, AssignNode]

Displacing = dict[WorkloadKey, list[Action]]
"""Actions of several workloads that only make sense together."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Those that are being planned, and a way to the others, whose instances may give way."""

    planned: Sequence[Draft]
    of: Callable[[WorkloadKey], Draft]


def plan_placements(
    drafts: Drafts, occupancy: Occupancy, scheduler: Scheduler, brake: Brake
) -> list[Displacing]:
    """Place what finds a node; what does not says why, and holds up nobody else. While `brake` is
    on nobody gives way: there is room on the nodes that are soon heard of again."""
    asked = [(draft, vacancy) for draft in drafts.planned for vacancy in draft.vacancies]
    if not asked:
        return []
    failures = {draft.key: failures_by_node(draft) for draft in drafts.planned if draft.vacancies}
    requests = [
        _request(draft, vacancy, occupancy, failures[draft.key], brake) for draft, vacancy in asked
    ]
    decisions = scheduler.schedule(requests, occupancy.snapshot())
    apart: dict[object, tuple[Draft, list[Placing]]] = {}
    gangs = _displacing_gangs(asked, decisions)
    for at in in_turn(requests):
        (draft, vacancy), decision = asked[at], decisions[at]
        if not isinstance(decision, AssignNode):
            draft.wait(f"slot {vacancy.slot} has no node: {decision.reason}")
            draft.is_unplaced = draft.is_unplaced or isinstance(decision, NoPlacement)
        elif decision.victims or draft.key in gangs:
            unit = draft.key if draft.key in gangs else requests[at].instance
            apart.setdefault(unit, (draft, []))[1].append((vacancy, decision))
        else:
            draft.place(vacancy, decision.node, decision.reason, decision.gpus)
    return _displacings(apart.values(), drafts)


def _displacing_gangs(
    asked: Sequence[tuple[Draft, Vacancy]], decisions: Sequence[ScheduleDecision]
) -> set[WorkloadKey]:
    return {
        draft.key
        for (draft, _), decision in zip(asked, decisions, strict=True)
        if isinstance(decision, AssignNode) and decision.victims
        if draft.spec is not None and draft.spec.gang
    }


def _displacings(
    units: Iterable[tuple[Draft, Sequence[Placing]]], drafts: Drafts
) -> list[Displacing]:
    """At most one on each node: the scheduler counts on those that it has decided on before, and
    none may depend on another, of which nobody knows whether it is committed."""
    found: list[Displacing] = []
    busy: set[str] = set()
    for draft, placings in units:
        nodes = {decision.node for _, decision in placings if decision.victims}
        if unit := _displace(draft, placings, drafts, busy & nodes):
            found.append(unit)
        busy |= nodes
    return found


def _displace(
    draft: Draft, placings: Sequence[Placing], drafts: Drafts, busy: Set[str]
) -> Displacing | None:
    """None if it must not be now, or need not: then the room is waited for."""
    giving_way = [
        _GivingWay(drafts.of(victim.instance.workload_key), victim, vacancy, decision.node)
        for vacancy, decision in placings
        for victim in decision.victims
    ]
    hindrance = f"they do on {min(busy)}" if busy else _hindrance(placings, giving_way)
    if hindrance:
        for vacancy, _ in placings:
            draft.wait(f"slot {vacancy.slot} waits for others to give way: {hindrance}")
        draft.is_unplaced = True
        return None
    together: Displacing = {}
    newcomers = {id(vacancy): str(draft.next_name(vacancy)) for vacancy, _ in placings}
    with draft.apart(together):
        for vacancy, decision in placings:
            gone = (*(each.instance for each in decision.victims), *decision.leaving)
            after = tuple(str(each) for each in gone)
            draft.place(vacancy, decision.node, decision.reason, decision.gpus, after)
    for each in giving_way:
        assert each.member is not None
        with each.draft.apart(together):
            newcomer = newcomers[id(each.vacancy)]
            each.draft.stop(each.member, each.victim.reason, displaced_by=newcomer)
    return together


@dataclass(frozen=True, slots=True)
class _GivingWay:
    """`draft` is the victim's, `vacancy` the newcomer's."""

    draft: Draft
    victim: Victim
    vacancy: Vacancy
    node: str

    @property
    def member(self) -> Member | None:
        return self.draft.by_place.get(InstancePlace(self.node, self.victim.instance))


def _hindrance(placings: Sequence[Placing], giving_way: Sequence[_GivingWay]) -> str:
    """Why not now, as the drafts stand: the scheduler knows nothing of what they have decided."""
    for each in giving_way:
        if each.member is None or not each.member.is_wanted:
            return f"{each.victim.instance} goes already"
    running: Counter[WorkloadKey] = Counter(
        each.draft.key
        for each in giving_way
        if each.member is not None and each.member.condition is Condition.RUNNING
    )
    for each in giving_way:
        if not each.draft.affords(running[each.draft.key]):
            return f"too few of {each.draft.key} would run"
    ops = sum(4 if vacancy.replaces else 1 for vacancy, _ in placings) + len(giving_way)
    ops += OPS_OF_WORKLOAD * len({each.draft.key for each in giving_way}) + OPS_OF_NEWCOMERS
    if ops > MAX_UNIT_OPS:
        return f"{len(placings)} instances and {len(giving_way)} others are too many at once"
    return ""


def _request(
    draft: Draft,
    vacancy: Vacancy,
    occupancy: Occupancy,
    failures: Mapping[str, int],
    brake: Brake,
) -> ScheduleRequest:
    return ScheduleRequest(
        instance=draft.next_name(vacancy),
        shape=occupancy.shape_of_slot(draft.key, draft.generation, vacancy.slot),
        failed_on=failures,
        prefer=vacancy.prefer,
        may_displace=vacancy.may_displace and not brake.reason,
    )


def failures_by_node(draft: Draft) -> Counter[str]:
    """How often the workload's slots have failed on each node, in the rows of failures that have
    not ended."""
    failures = Counter(node for each in draft.members for node in each.assignment.failed_on)
    failures.update(
        member.place.node for member in draft.having(Condition.FINISHED) if member.is_failed
    )
    return failures
