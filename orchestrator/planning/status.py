"""What the leader reports of a workload: counts, and what waits and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orchestrator.model.workload import WorkloadStatus
from orchestrator.planning.draft import Draft
from orchestrator.planning.members import Condition

MAX_SENTENCES = 10
"""Of `waiting` in one status; the rest is counted, so that the record stays small."""


def status_of_draft(draft: Draft) -> WorkloadStatus:
    counts = Counter(member.condition for member in draft.by_place.values())
    updated = [each for each in draft.wanted() if each.assignment.generation == draft.generation]
    return WorkloadStatus(
        generation=draft.generation,
        desired=draft.spec.replicas if draft.spec else 0,
        running=counts[Condition.RUNNING],
        pending=counts[Condition.STARTING] + counts[Condition.UNREACHABLE],
        failed=counts[Condition.FINISHED],
        stopping=counts[Condition.STOPPING] + counts[Condition.STOPPED],
        updated=sum(1 for member in updated if member.condition is Condition.RUNNING),
        attempt_floor=draft.attempt_floor,
        waiting=shortened(draft.waiting),
    )


def shortened(waiting: Iterable[str]) -> tuple[str, ...]:
    sentences = list(dict.fromkeys(waiting))
    if len(sentences) <= MAX_SENTENCES:
        return tuple(sentences)
    rest = len(sentences) - MAX_SENTENCES
    return (*sentences[:MAX_SENTENCES], f"and {rest} more")
