"""How many: stop the surplus, find the vacancies, forget what is confirmed gone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count, groupby, islice
from math import inf

from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.members import Condition, Member

MAX_AT_ONCE = 1000
"""Of one workload in one plan, so that no plan takes long; what it does calls for the next one.
A pass over the finished plan would cap what is done, but not how long it takes to plan it."""


def plan_confirmed(draft: Draft) -> None:
    """Forget what was to stop and has; its slot may be needed again.

    Who was displaced keeps his row until somebody takes his slot, so that all remember that the
    successor must not displace others in turn.
    """
    lacking = draft.spec.replicas - len(draft.wanted()) if draft.spec else 0
    for member in draft.having(Condition.STOPPED):
        prefer = draft.moves[member.place].to if member.place in draft.moves else ""
        if member.assignment.displaced_by and lacking > 0:
            lacking -= 1
            why = f"follows {member.name}, which gave way to {member.assignment.displaced_by}"
            draft.vacancies.append(
                Vacancy(member.slot, why, replaces=member, may_displace=False, prefer=prefer)
            )
            continue
        draft.forget(member, _confirmed(member))
        why = f"follows {member.name}, stopped because {member.assignment.reason}"
        draft.vacancies.append(Vacancy(member.slot, why, prefer=prefer))


def _confirmed(member: Member) -> str:
    """With what its node has added to why it was to stop."""
    said = member.observation.reason if member.observation else ""
    added = said.removeprefix(f"{member.assignment.reason}; ")
    return "stopped and confirmed" if added == said else f"stopped and confirmed: {added}"


def plan_surplus(draft: Draft) -> None:
    """Stop all of a workload that is no longer wanted, else as many as are too many."""
    wanted = draft.wanted()
    if draft.spec is None:
        for member in wanted[:MAX_AT_ONCE]:
            draft.stop(member, "the workload was deleted")
        return
    _stop_doubles(draft)
    wanted = draft.wanted()
    surplus = len(wanted) - draft.spec.replicas
    if surplus <= 0:
        return
    for member in least_missed_first(wanted)[: min(surplus, MAX_AT_ONCE)]:
        draft.stop(member, f"scaled from {len(wanted)} to {draft.spec.replicas}")


def _stop_doubles(draft: Draft) -> None:
    """Of two in one slot, which only rows put in by hand can be, the more missed one stays."""
    wanted = draft.wanted()
    if len({member.slot for member in wanted}) == len(wanted):
        return
    kept: set[int] = set()
    for member in reversed(least_missed_first(wanted)):
        if member.slot in kept:
            draft.stop(member, f"slot {member.slot} is held by another instance")
        kept.add(member.slot)


def least_missed_first(members: list[Member]) -> list[Member]:
    """Unhealthy ones, then the newest, then those on the node that is most crowded by then.

    Those of one transaction are equally new; the last slot breaks what ties are left.
    """
    crowd = Counter(member.place.node for member in members)
    return [
        member
        for _, alike in groupby(sorted(members, key=_health_and_age), key=_health_and_age)
        for member in _most_crowded_first(list(alike), crowd)
    ]


_UNHEALTHY_FIRST = {condition: rank for rank, condition in enumerate(Condition)}


def _health_and_age(member: Member) -> tuple[int, float]:
    return _UNHEALTHY_FIRST[member.condition], -(member.create_revision or inf)


def _most_crowded_first(members: list[Member], crowd: Counter[str]) -> Iterator[Member]:
    """`crowd` counts all instances by node, and is lowered by each one that is taken: a node
    stands in the heap with its next one to go."""
    by_node: defaultdict[str, list[Member]] = defaultdict(list)
    for member in sorted(members, key=lambda each: each.slot):
        by_node[member.place.node].append(member)
    heap = [_turn(node, crowd, queue) for node, queue in by_node.items()]
    heapify(heap)
    while heap:
        *_, node = heappop(heap)
        yield by_node[node].pop()
        crowd[node] -= 1
        if by_node[node]:
            heappush(heap, _turn(node, crowd, by_node[node]))


def _turn(node: str, crowd: Counter[str], queue: list[Member]) -> tuple[int, int, str]:
    return -crowd[node], -queue[-1].slot, node


def plan_vacancies(draft: Draft) -> None:
    """As many vacancies as are missing; those that earlier planners named come first.

    What may still be stopping keeps its slot until it is confirmed or given up, so that no more
    than `replicas` ever run because of us.
    """
    if draft.spec is None:
        draft.vacancies.clear()
        return
    held = {member.slot for member in draft.wanted()}
    stopping = {
        member.slot for member in draft.having(Condition.STOPPING) if _counts(draft, member)
    }
    stopping = (stopping | draft.held) - held
    to_be_replaced = [
        vacancy for vacancy in draft.vacancies if vacancy.replaces and vacancy.replaces.is_wanted
    ]
    short = draft.spec.replicas - len(held) + len(to_be_replaced)
    missing = max(0, short - len(stopping))
    if short > missing:
        draft.wait(f"{short - missing} slots wait for instances that are still stopping")
    named = {
        each.slot: each  # one for each slot, whichever of its attempts have ended
        for each in draft.vacancies
        if each.replaces or each.slot not in held | stopping
    }
    draft.vacancies = [named[slot] for slot in sorted(named)][: min(missing, MAX_AT_ONCE)]
    taken = held | stopping | {vacancy.slot for vacancy in draft.vacancies}
    why = f"{draft.spec.replicas} replicas wanted, {len(held)} there"
    free = (slot for slot in count() if slot not in taken)
    for slot in islice(free, min(missing, MAX_AT_ONCE) - len(draft.vacancies)):
        draft.vacancies.append(Vacancy(slot, why))


def _counts(draft: Draft, member: Member) -> bool:
    return member.place not in draft.given_up
