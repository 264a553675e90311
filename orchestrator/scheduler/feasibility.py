"""Does it fit? The one answer that scheduling, preemption, explanation and what-if share.

A filter is a `Stage`: which nodes pass it. A node takes a shape if it passes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.workload import GpuNeed
from orchestrator.scheduler.facts import MOST_AMOUNT, Facts, Mask
from orchestrator.scheduler.plugins import FilterPlugin, passed
from orchestrator.scheduler.protocol import HostPort, Shape
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule, domain_rules


class Filter(StrEnum):
    """In the order in which they are named to people: a node counts under its first."""

    STATE = "state"
    RUNTIME = "runtime"
    PRIVILEGE = "privilege"
    HOST_PATH = "host path"
    SELECTOR = "selector"
    TAINT = "taint"
    VOLUME = "volume"
    PLUGIN = "plug-in"
    DOMAIN = "domain"
    PORT = "port"
    GPU = "gpu"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Stage:
    """`subject` says of what: a path, a selector, a pin, a rule, a port, a resource."""

    filter: Filter
    passes: Mask
    subject: object = None


@dataclass(frozen=True, slots=True)
class Field:
    """What there is to choose from. `fits`: the nodes that pass everything but `rules`."""

    shape: Shape
    fits: Mask
    rules: tuple[DomainRule, ...] = ()

    def mask(self) -> Mask:
        """The nodes that take the shape now."""
        passes = self.fits
        for rule in self.rules:
            if rule.weight is None:
                passes = passes & rule.is_open()[rule.codes]
        return passes


def field_of(snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin] = ()) -> Field:
    """Asks every node at once."""
    fits = candidates(snapshot.facts, shape)
    rules = tuple(domain_rules(snapshot, shape, fits))
    for stage in (
        *_of_pins(snapshot.facts, shape),
        *_of_plugins(snapshot, shape, plugins),
        *_of_load(snapshot, shape),
    ):
        fits = fits & stage.passes
    return Field(shape, fits, rules)


def feasible(snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin] = ()) -> Mask:
    """Which nodes take one instance of the shape now."""
    return field_of(snapshot, shape, plugins).mask()


def stages(
    snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin] = ()
) -> Iterator[Stage]:
    """All filters one by one, for those who want to know which one refuses."""
    yield from _of_facts(snapshot.facts, shape)
    yield from _of_pins(snapshot.facts, shape)
    yield from _of_plugins(snapshot, shape, plugins)
    for rule in domain_rules(snapshot, shape, candidates(snapshot.facts, shape)):
        if rule.weight is None:
            yield Stage(Filter.DOMAIN, rule.is_open()[rule.codes], rule)
    yield from _of_load(snapshot, shape)


def candidates(facts: Facts, shape: Shape) -> Mask:
    """The nodes that could take one of its kind whatever runs on them, and wherever data are."""
    placement = shape.placement
    permissions = (shape.runtime, shape.is_privileged, shape.host_paths)
    question = (*permissions, placement.nodes, placement.tolerations, facts.closed)

    def answer() -> Mask:
        passes = np.ones(len(facts), dtype=np.bool_)
        for stage in _of_facts(facts, shape):
            passes &= stage.passes
        return passes

    return facts.once(question, answer)


def _of_facts(facts: Facts, shape: Shape) -> Iterator[Stage]:
    yield Stage(Filter.STATE, facts.is_open)
    yield Stage(Filter.RUNTIME, facts.has_runtime(shape.runtime))
    if shape.is_privileged:
        yield Stage(Filter.PRIVILEGE, facts.allows_privileged)
    for path in sorted(shape.host_paths):
        yield Stage(Filter.HOST_PATH, facts.allows_path(path), path)
    for selector in shape.placement.nodes:
        if selector.weight is None:
            yield Stage(Filter.SELECTOR, facts.selected(selector), selector)
    yield Stage(Filter.TAINT, facts.tolerated(shape.placement.tolerations))


def _of_pins(facts: Facts, shape: Shape) -> Iterator[Stage]:
    for pin in shape.pins:
        yield Stage(Filter.VOLUME, facts.named(pin.node), pin)


def _of_plugins(
    snapshot: Snapshot, shape: Shape, plugins: Sequence[FilterPlugin]
) -> Iterator[Stage]:
    for plugin in plugins:
        yield Stage(Filter.PLUGIN, passed(plugin, snapshot, shape), plugin.name)


def _of_load(snapshot: Snapshot, shape: Shape) -> Iterator[Stage]:
    for port in sorted(shape.host_ports):
        if port in snapshot.ports:
            yield Stage(Filter.PORT, _is_port_free(snapshot, port), port)
    if shape.gpu is not None:
        yield Stage(Filter.GPU, has_gpus(snapshot, shape.gpu), shape.gpu)
    for resource, amount in shape.quantities.items():
        if amount == 0:
            continue  # it asks for nothing: a node that has none, or less than that, will do
        free = snapshot.free.get(resource)
        has_room = np.zeros(len(snapshot.facts), dtype=np.bool_) if free is None else free >= amount
        yield Stage(Filter.RESOURCE, has_room, resource)


def _is_port_free(snapshot: Snapshot, port: HostPort) -> Mask:
    is_free = np.ones(len(snapshot.facts), dtype=np.bool_)
    is_free[list(snapshot.ports[port])] = False
    return is_free


def has_gpus(snapshot: Snapshot, need: GpuNeed) -> Mask:
    count: NDArray[np.int64] = fitting_gpus(snapshot, need).sum(axis=1)
    return count >= need.count


def fitting_gpus(snapshot: Snapshot, need: GpuNeed) -> NDArray[np.bool_]:
    """[node, device]: whether the device has that much left, and is of a model that will do."""
    fits: NDArray[np.bool_] = snapshot.facts.has_models(need.models)
    return fits & (snapshot.gpus_free >= need.milli)


def impossible(shape: Shape) -> str:
    """Why no node could ever take the shape; empty for a sane one."""
    for resource, amount in sorted(shape.quantities.items()):
        if amount < 0:
            return f"asks for a negative amount of {resource}"
        if amount > MOST_AMOUNT:
            return f"asks for more {resource} than any node can have"
    return ""
