"""Constraints that nothing in the world can meet, whatever labels it has.

Only what is certain counts. Required constraints alone can contradict each other: a preference
costs nothing when it is not met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.model.placement import Operator, Placement, Requirement, meets, whole_number
from orchestrator.model.problems import Path, path_text
from orchestrator.model.rules.faults import Fault


def contradictions(requirements: Iterable[Requirement]) -> Iterator[str]:
    """All that is asked of one label (`zone=a, zone=b`), if nothing can meet it. The
    requirements are well-formed, each by itself."""
    by_key: dict[str, list[Requirement]] = {}
    for each in requirements:
        by_key.setdefault(each.key, []).append(each)
    for group in by_key.values():
        if not can_be_met(group):
            yield ", ".join(map(str, group))


def can_be_met(requirements: Sequence[Requirement]) -> bool:
    """Whether some value of the one label that they all test, or its absence, meets them all."""
    if all(meets({}, each) for each in requirements):
        return True
    if any(each.operator is Operator.DOES_NOT_EXIST for each in requirements):
        return False
    named = next((each.values for each in requirements if each.operator is Operator.IN), None)
    if named is not None:
        key = requirements[0].key
        return any(all(meets({key: value}, each) for each in requirements) for value in named)
    return _leaves_a_number(requirements)


def _leaves_a_number(requirements: Sequence[Requirement]) -> bool:
    """NotIn takes none away for good: 6 can be written as 06."""
    above = _bounds(requirements, Operator.GT)
    below = _bounds(requirements, Operator.LT)
    return not (above and below) or min(below) - max(above) > 1


def _bounds(requirements: Iterable[Requirement], operator: Operator) -> list[int]:
    texts = (each.values[0] for each in requirements if each.operator is operator)
    return [number for text in texts if (number := whole_number(text)) is not None]


def opposites(path: Path, placement: Placement) -> Iterator[Fault]:
    """What is to be both shared with and kept away from the same workloads."""
    wanted = {index: each for index, each in enumerate(placement.affinity) if each.weight is None}
    for index, shunned in enumerate(placement.anti_affinity):
        at = next((at for at, each in wanted.items() if each == shunned), None)
        if at is not None:
            rule = f"{path_text((*path, 'affinity', at))} is the same: no node can meet both"
            yield Fault((*path, "anti_affinity", index), str(shunned), rule)
