"""Instances that have ended though they are wanted: replaced, with exponential back-off.

The first failure is made good at once; after the second in a row the slot waits
`backoff_seconds`, then twice as long each time, up to `max_backoff_seconds`. An attempt that
has lived for `reset_after_seconds` on its node's clock ends the row.
"""

from __future__ import annotations

from orchestrator.model.workload import RestartPolicy
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.members import Condition, Member


def plan_restarts(draft: Draft, now: float) -> None:
    if draft.spec is None:
        return
    for member in draft.having(Condition.FINISHED):
        failures = failures_in_a_row(member, draft.spec.restart)
        due = member.ended_at + _delay_seconds(draft, member, failures)
        why = f"replaces {member.name}: {_told(member)}"
        if now < due:
            draft.wait(
                f"slot {member.slot} waits {due - member.ended_at:g} s after {failures} failures in"
                f" a row; {member.name}: {_told(member)}",
                until=due,
            )
            continue
        nodes = failed_nodes(member, is_first=failures == 1) if member.is_failed else ()
        draft.vacancies.append(
            Vacancy(member.slot, why, failures, failed_on=nodes, replaces=member)
        )


def failures_in_a_row(member: Member, policy: RestartPolicy) -> int:
    """Counting this one; what its node did to it is not its failure."""
    if member.cause.is_nodes:
        return member.assignment.failures
    lived = member.observation.lived_seconds if member.observation else 0.0
    return 1 if lived >= policy.reset_after_seconds else member.assignment.failures + 1


def _delay_seconds(draft: Draft, member: Member, failures: int) -> float:
    assert draft.spec is not None
    is_outdated = member.assignment.generation != draft.generation
    if is_outdated or member.cause.is_nodes:
        return 0.0
    return draft.spec.restart.delay_seconds(failures)


MAX_REMEMBERED = 8
"""Nodes of failures in a row that an assignment carries."""


def failed_nodes(member: Member, *, is_first: bool) -> tuple[str, ...]:
    """The nodes of a slot's failures in a row, to be remembered by its next attempt."""
    before = () if is_first else member.assignment.failed_on
    return (*before, member.place.node)[-MAX_REMEMBERED:]


def _told(member: Member) -> str:
    observation = member.observation
    return observation.reason if observation and observation.reason else "has ended"
