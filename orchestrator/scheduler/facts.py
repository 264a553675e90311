"""`Facts`: what is true of the nodes whatever runs on them, in columns.

Columns are NumPy arrays over the nodes by name, so that one operation asks all nodes at once.
What many requests ask alike (selectors, tolerations, domains) is answered once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.container import is_allowed_path
from orchestrator.model.placement import (
    NODE_KEY,
    NodeSelector,
    Taint,
    TaintEffect,
    Toleration,
    meets,
)
from orchestrator.model.resources import MILLI, Quantities

T = TypeVar("T")

Mask = NDArray[np.bool_]
"""One truth value for each node."""
Column = NDArray[np.int64]
"""One whole number for each node."""

MOST_AMOUNT = 10**15
"""Milli-units, of anything on one node: far above all that the rules of the model let pass, and a
thousand times as much is still an int64."""

MAX_KEPT = 4096
"""Answers of each kind; the bound only keeps a long-lived leader from growing."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node. `allocatable` is in milli-units, GPUs not among them; `gpus` has each device's
    model. `allowed_binds` are the paths that it gives to instances, each with all below it.
    `refusal` is empty if it takes instances at all, else says why not ("is cordoned")."""

    name: str
    allocatable: Quantities
    gpus: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    runtimes: frozenset[str] = frozenset({"process"})
    images: frozenset[str] = frozenset()
    allowed_binds: tuple[str, ...] = ()
    allows_privileged: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Domains:
    """A topology key's values, in order, and each node's index among them; the last index of all,
    `len(values)`, is for the nodes that lack the label."""

    codes: Column
    values: tuple[str, ...]


class Facts:
    """Immutable, but for what it remembers of its own answers."""

    def __init__(self, nodes: Iterable[NodeFacts]) -> None:
        self.nodes = tuple(sorted(nodes, key=lambda node: node.name))
        self.names = tuple(node.name for node in self.nodes)
        self.index = {name: at for at, name in enumerate(self.names)}
        self.is_open: Mask = self._mask(lambda node: not node.refusal)
        self.closed: tuple[str, ...] = ()
        self._kept: dict[object, Any] = {}

    def closing(self, name: str, refusal: str) -> Facts:
        """The same but for one node, which takes nothing any more. What was asked of the one is
        known to the other: questions on which nodes are open at all must name those `closed`."""
        at = self.index[name]
        other = copy(self)
        node = replace(self.nodes[at], refusal=refusal)
        other.nodes = (*self.nodes[:at], node, *self.nodes[at + 1 :])
        other.is_open = self.is_open.copy()
        other.is_open[at] = False
        other.closed = (*self.closed, name)
        return other

    def __len__(self) -> int:
        return len(self.nodes)

    @cached_property
    def resources(self) -> tuple[str, ...]:
        return tuple(sorted({name for node in self.nodes for name in node.allocatable}))

    @cached_property
    def allocatable(self) -> dict[str, Column]:
        return {
            resource: np.array(
                [bounded(node.allocatable.get(resource, 0)) for node in self.nodes], dtype=np.int64
            )
            for resource in self.resources
        }

    @cached_property
    def gpus(self) -> NDArray[np.int64]:
        """[node, device]: `MILLI` for a device that is there, else -1."""
        width = max((len(node.gpus) for node in self.nodes), default=0)
        devices = np.full((len(self), width), -1, dtype=np.int64)
        for at, node in enumerate(self.nodes):
            devices[at, : len(node.gpus)] = MILLI
        return devices

    @cached_property
    def has_gpus(self) -> Mask:
        return self._mask(lambda node: bool(node.gpus))

    def has_models(self, models: tuple[str, ...]) -> NDArray[np.bool_]:
        """[node, device]: whether the device is of one of the models; empty stands for any."""
        return self.once(("models", models), lambda: self._of_models(models))

    def _of_models(self, models: tuple[str, ...]) -> NDArray[np.bool_]:
        fits = self.gpus >= 0
        if models:
            for at, node in enumerate(self.nodes):
                for device, model in enumerate(node.gpus):
                    fits[at, device] = model in models
        return fits

    def has_runtime(self, runtime: str) -> Mask:
        return self.once(
            ("runtime", runtime), lambda: self._mask(lambda node: runtime in node.runtimes)
        )

    def has_image(self, image: str) -> Mask:
        return self.once(("image", image), lambda: self._mask(lambda node: image in node.images))

    @cached_property
    def allows_privileged(self) -> Mask:
        return self._mask(lambda node: node.allows_privileged)

    def allows_path(self, path: str) -> Mask:
        return self.once(
            ("path", path),
            lambda: self._mask(lambda node: is_allowed_path(path, node.allowed_binds)),
        )

    def named(self, name: str) -> Mask:
        """That node and no other; none if it is not there."""
        mask: Mask = np.zeros(len(self), dtype=np.bool_)
        if (at := self.index.get(name)) is not None:
            mask[at] = True
        return mask

    def selected(self, selector: NodeSelector) -> Mask:
        """Which nodes meet it, whatever its weight."""
        requirement = selector.requirement
        return self.once(
            requirement, lambda: self._mask(lambda node: meets(labels_of(node), requirement))
        )

    def tolerated(self, tolerations: tuple[Toleration, ...]) -> Mask:
        """Which nodes have no taint that forbids what has these tolerations."""
        return self.once(
            ("tolerated", tolerations),
            lambda: self._mask(lambda node: forbidding(node, tolerations) is None),
        )

    @cached_property
    def has_discouraging_taints(self) -> bool:
        return any(not _forbids(taint) for node in self.nodes for taint in node.taints)

    def discouraging(self, tolerations: tuple[Toleration, ...]) -> Column:
        """How many PreferNoSchedule taints each node has that are not tolerated."""

        def count(node: NodeFacts) -> int:
            return sum(1 for each in untolerated(node, tolerations) if not _forbids(each))

        return self.once(
            ("discouraging", tolerations),
            lambda: np.array([count(node) for node in self.nodes], dtype=np.int64),
        )

    def domains(self, topology_key: str) -> Domains:
        return self.once(("domains", topology_key), lambda: self._domains(topology_key))

    def _domains(self, topology_key: str) -> Domains:
        found = [labels_of(node).get(topology_key) for node in self.nodes]
        values = tuple(sorted({value for value in found if value is not None}))
        index = {value: at for at, value in enumerate(values)}
        codes = [len(values) if value is None else index[value] for value in found]
        return Domains(np.array(codes, dtype=np.int64), values)

    def _mask(self, holds: Callable[[NodeFacts], bool]) -> Mask:
        return np.array([holds(node) for node in self.nodes], dtype=np.bool_)

    def once(self, question: object, answer: Callable[[], T]) -> T:
        """The answer to a question on these facts, never None, which is worked out the first time
        only. Several threads may ask: simulations share the facts of the state that they are of."""
        known = self._kept.get(question)
        if known is None:
            known = answer()
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[question] = known
        return cast(T, known)


def bounded(amount: int) -> int:
    """From 0 to `MOST_AMOUNT`: rows that people have edited may say anything."""
    return max(0, min(amount, MOST_AMOUNT))


def labels_of(node: NodeFacts) -> Mapping[str, str]:
    """Its labels, and its own name as one of them."""
    return {**node.labels, NODE_KEY: node.name}


def untolerated(node: NodeFacts, tolerations: tuple[Toleration, ...]) -> list[Taint]:
    return [taint for taint in node.taints if not any(each.covers(taint) for each in tolerations)]


def forbidding(node: NodeFacts, tolerations: tuple[Toleration, ...]) -> Taint | None:
    """The first taint that keeps it away from the node; None if none does."""
    return next((taint for taint in untolerated(node, tolerations) if _forbids(taint)), None)


def _forbids(taint: Taint) -> bool:
    return taint.effect is not TaintEffect.PREFER_NO_SCHEDULE
