"""Constraints of placement in words, a line for each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.cli.columns import duration_text
from orchestrator.model.placement import (
    Affinity,
    NodeSelector,
    Placement,
    Toleration,
    TopologySpread,
    Unsatisfiable,
)
from orchestrator.model.workload import GpuNeed


def placement_lines(placement: Placement) -> Iterator[str]:
    """`only nodes with zone=a|b`, `rather apart from workload db (by zone, weight 5)`."""
    if placement.strategy:
        yield f"{placement.strategy} over the nodes"
    yield from _selectors(placement.nodes)
    yield from _terms("together with", placement.affinity)
    yield from _terms("apart from", placement.anti_affinity)
    yield from map(_spread, placement.spread)
    yield from map(_toleration, placement.tolerations)


def _selectors(selectors: Sequence[NodeSelector]) -> Iterator[str]:
    for each in selectors:
        nodes = f"nodes with {each.requirement}"
        yield f"only {nodes}" if each.weight is None else f"rather {nodes} (weight {each.weight})"


def _terms(word: str, terms: Sequence[Affinity]) -> Iterator[str]:
    for each in terms:
        yield f"{word} {each}" if each.weight is None else f"rather {word} {each}"


def _spread(spread: TopologySpread) -> str:
    is_soft = spread.when_unsatisfiable is Unsatisfiable.SCHEDULE_ANYWAY
    domains = f", {spread.min_domains} domains or more" if spread.min_domains > 1 else ""
    even = f"evenly over {spread.topology_key}, skew {spread.max_skew} at most{domains}"
    return f"rather {even}" if is_soft else even


def _toleration(toleration: Toleration) -> str:
    value = f"={toleration.value}" if toleration.value else ""
    effect = f":{toleration.effect}" if toleration.effect else ""
    taint = f"{toleration.key}{value}{effect}" if toleration.key else f"every taint{effect}"
    seconds = toleration.seconds
    return f"tolerates {taint}" + ("" if seconds is None else f" for {duration_text(seconds)}")


def gpu_need_text(need: GpuNeed | None) -> str:
    """`2 for each instance, V100M16 or V100M32`; empty for none."""
    if need is None:
        return ""
    models = f", {' or '.join(need.models)}" if need.models else ""
    amount = f"{need.milli / 1000:g} of one" if need.milli < 1000 else str(need.count)
    return f"{amount} for each instance{models}"
