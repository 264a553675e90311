"""A changed template: one instance at a time gives way to the new generation.

The next one is stopped only when all others run, so that a new generation that does not come
up stops the rollout by itself. An outdated instance that does not run holds nobody up.
"""

from __future__ import annotations

from orchestrator.planning.draft import Draft
from orchestrator.planning.members import Condition, Member


def plan_rollout(draft: Draft) -> None:
    if draft.spec is None:
        return
    outdated = [each for each in draft.wanted() if each.assignment.generation != draft.generation]
    idle = [each for each in outdated if each.condition is Condition.STARTING]
    for member in idle:
        _retire(draft, member)
    running = [each for each in outdated if each.condition is Condition.RUNNING]
    if not running:
        return
    away = first_away(draft)
    if away:
        draft.wait(f"generation {draft.generation} is rolled out further when {away}")
        return
    _retire(draft, running[0])


def first_away(draft: Draft) -> str:
    """Why not every wanted instance runs; empty if all do. What was given up is waited for no
    more, and what has stopped only leaves its slot to be filled."""
    assert draft.spec is not None
    members = [
        each
        for each in draft.members
        if each.condition is not Condition.STOPPED
        and (each.is_wanted or each.place not in draft.given_up)
    ]
    for member in members:
        if member.condition is not Condition.RUNNING:
            verb = "has stopped" if not member.is_wanted else "runs"
            return f"{member.name} {verb}"
    missing = draft.spec.replicas - len(members)
    return f"{missing} more instances run" if missing > 0 else ""


def _retire(draft: Draft, member: Member) -> None:
    draft.stop(
        member,
        f"generation {member.assignment.generation} gives way to {draft.generation}",
    )
