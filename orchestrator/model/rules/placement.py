"""The rules for constraints of placement, and for the taints of nodes.

What no node of today can meet is no fault: one that can may join tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Operator,
    Placement,
    Requirement,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpread,
    whole_number,
)
from orchestrator.model.problems import Path
from orchestrator.model.rules.contradictions import contradictions, opposites
from orchestrator.model.rules.faults import (
    Fault,
    no_dns_label,
    outside,
    repeated,
    too_many,
    unfit_label_name,
    unfit_label_value,
    unfit_labels,
)

MAX_WEIGHT = 100
MAX_DOMAINS = 10_000
"""Of `max_skew` and `min_domains` alike."""
MAX_TOLERATED_SECONDS = 365 * 86_400


def placement_faults(path: Path, placement: Placement) -> Iterator[Fault]:
    for name in (field.name for field in fields(placement)):
        listed = getattr(placement, name)
        if isinstance(listed, tuple):
            yield from too_many((*path, name), listed)
    yield from _selector_faults((*path, "nodes"), placement.nodes)
    yield from _affinity_faults((*path, "affinity"), placement.affinity)
    yield from _affinity_faults((*path, "anti_affinity"), placement.anti_affinity)
    yield from opposites(path, placement)
    yield from _spread_faults((*path, "spread"), placement.spread)
    for index, toleration in enumerate(placement.tolerations):
        yield from _toleration_faults((*path, "tolerations", index), toleration)


def _selector_faults(path: Path, selectors: Sequence[NodeSelector]) -> Iterator[Fault]:
    for index, selector in enumerate(selectors):
        yield from _requirement_faults((*path, index), selector.requirement)
        yield from _weight_faults((*path, index), selector.weight)
    needed = [each.requirement for each in selectors if each.weight is None]
    yield from _contradictions(path, needed, "node")


def _affinity_faults(path: Path, terms: Sequence[Affinity]) -> Iterator[Fault]:
    for index, term in enumerate(terms):
        yield from _term_faults((*path, index), term)


def _term_faults(path: Path, term: Affinity) -> Iterator[Fault]:
    if not (term.workload or term.labels or term.expressions):
        yield Fault(path, (), "it must say which workloads: by workload, labels or expressions")
    if term.workload:
        yield from no_dns_label((*path, "workload"), term.workload)
    yield from unfit_labels((*path, "labels"), term.labels)
    yield from too_many((*path, "expressions"), term.expressions)
    for index, each in enumerate(term.expressions):
        yield from _requirement_faults((*path, "expressions", index), each)
    yield from unfit_label_name((*path, "topology_key"), term.topology_key)
    yield from _weight_faults(path, term.weight)
    labels = (Requirement(name, values=(value,)) for name, value in term.labels.items())
    yield from _contradictions(path, (*labels, *term.expressions), "workload")


def _contradictions(path: Path, requirements: Iterable[Requirement], whom: str) -> Iterator[Fault]:
    """What has a fault of its own contradicts nothing."""
    sound = [each for each in requirements if not any(_requirement_faults(path, each))]
    for asked in contradictions(sound):
        yield Fault(path, asked, f"no {whom} can meet all of that")


def _requirement_faults(path: Path, requirement: Requirement) -> Iterator[Fault]:
    yield from unfit_label_name((*path, "key"), requirement.key)
    values, operator = requirement.values, requirement.operator
    yield from too_many((*path, "values"), values)
    if rule := _wrong_number_of_values(operator, len(values)):
        yield Fault((*path, "operator"), operator.value, rule)
    for index, value in enumerate(values):
        where = (*path, "values", index)
        if operator in (Operator.IN, Operator.NOT_IN):
            yield from unfit_label_value(where, value)
        elif operator in (Operator.GT, Operator.LT) and whole_number(value) is None:
            yield Fault(where, value, f"{operator} takes a whole number of at most 18 digits")


def _wrong_number_of_values(operator: Operator, count: int) -> str:
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
        return "it takes no values: leave them out" if count else ""
    if operator in (Operator.IN, Operator.NOT_IN):
        return "" if count else "it takes one value or more"
    return "" if count == 1 else 'it takes one whole number, like values: ["8"]'


def _weight_faults(path: Path, weight: int | None) -> Iterator[Fault]:
    if weight is not None:
        yield from outside((*path, "weight"), weight, 1, MAX_WEIGHT)


def _spread_faults(path: Path, spread: Sequence[TopologySpread]) -> Iterator[Fault]:
    for index, each in enumerate(spread):
        yield from unfit_label_name((*path, index, "topology_key"), each.topology_key)
        yield from outside((*path, index, "max_skew"), each.max_skew, 1, MAX_DOMAINS)
        yield from outside((*path, index, "min_domains"), each.min_domains, 1, MAX_DOMAINS)
    yield from repeated(
        (
            (*path, index, "topology_key"),
            each.topology_key,
            (each.topology_key, each.when_unsatisfiable),
        )
        for index, each in enumerate(spread)
    )


def _toleration_faults(path: Path, toleration: Toleration) -> Iterator[Fault]:
    operator, effect = toleration.operator, toleration.effect
    is_any = operator is TolerationOperator.EXISTS
    if toleration.key:
        yield from unfit_label_name((*path, "key"), toleration.key)
    elif not is_any:
        rule = "without a key it must be 'Exists', which then tolerates every taint"
        yield Fault((*path, "operator"), operator.value, rule)
    if is_any and toleration.value:
        yield Fault((*path, "operator"), operator.value, "it takes no value: leave it out")
    yield from unfit_label_value((*path, "value"), toleration.value)
    if toleration.seconds is not None:
        yield from outside((*path, "seconds"), toleration.seconds, 0, MAX_TOLERATED_SECONDS)
        if effect not in (None, TaintEffect.NO_EXECUTE):
            rule = "only 'NoExecute' is tolerated for a time: leave out seconds"
            yield Fault((*path, "effect"), effect.value, rule)


def taint_faults(path: Path, taints: Sequence[Taint]) -> Iterator[Fault]:
    """Of one node, which has no two of the same key and effect."""
    yield from too_many(path, taints)
    for index, taint in enumerate(taints):
        yield from unfit_label_name((*path, index, "key"), taint.key)
        yield from unfit_label_value((*path, index, "value"), taint.value)
    yield from repeated(
        ((*path, index), str(taint), (taint.key, taint.effect))
        for index, taint in enumerate(taints)
    )
