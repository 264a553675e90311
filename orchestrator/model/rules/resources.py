"""The rules for amounts of resources, and for the names of resources of one's own."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Path, path_text, value_text
from orchestrator.model.resources import GPU, NAMED, NodeResources
from orchestrator.model.rules.faults import Fault, is_label_name

SMALLEST_AMOUNT = 0.001
"""Sums are made in thousandths; less would count as nothing."""

MAX_GPUS = 64
"""Of one node, and so of one instance."""

AMOUNT_BOUNDS: dict[str, float] = {
    "cpu_cores": 10_000,
    "memory_mb": 100_000_000,
    "disk_mb": 100_000_000_000,
    GPU: MAX_GPUS,
}
MAX_CUSTOM_AMOUNT = 1_000_000_000


def resource_faults(path: Path, resources: NodeResources) -> Iterator[Fault]:
    for name in NAMED:
        yield from _amount_faults((*path, name), getattr(resources, name), AMOUNT_BOUNDS[name])
    for name, amount in resources.custom.items():
        near = _near_resource(name)
        if not is_label_name(name):
            rule = "its name must be letters, digits, '.', '_' or '-', as a label's"
            yield Fault((*path, name), amount, rule)
        elif near or name == "custom":
            advice = f"; did you mean {near!r}?" if near else ""
            rule = f"a resource of one's own needs another name{advice}"
            yield Fault((*path, name), amount, rule)
        yield from _amount_faults((*path, name), amount, AMOUNT_BOUNDS.get(name, MAX_CUSTOM_AMOUNT))


def _near_resource(name: str) -> str | None:
    """The resource of ours that `name` must be a slip for; a `vgpu` may well be their own."""
    if name == GPU:
        return None
    return near_name(name, NAMED, cutoff=0.85) or near_name(name, (GPU,), cutoff=1)


def _amount_faults(path: Path, amount: float, most: float) -> Iterator[Fault]:
    if amount != 0 and not SMALLEST_AMOUNT <= amount <= most:
        rule = f"it must be 0, or {SMALLEST_AMOUNT} to {value_text(most)}"
        yield Fault(path, amount, rule)


def over_limit(path: Path, requests: NodeResources, limits: NodeResources) -> Iterator[Fault]:
    """Requests above the limit of the same container, where it has one."""
    ceilings = _amounts(limits)
    for name, amount in _amounts(requests).items():
        ceiling = ceilings.get(name, 0)
        if 0 < ceiling < amount:
            where = path_text((*path, "resource_limits", name))
            rule = f"it must not be more than {where}, which is {value_text(ceiling)}"
            yield Fault((*path, "resource_requests", name), amount, rule)


def _amounts(resources: NodeResources) -> dict[str, float]:
    return {**{name: getattr(resources, name) for name in NAMED}, **resources.custom}
