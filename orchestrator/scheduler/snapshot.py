"""`Snapshot`: the nodes, and what is claimed on them; what a scheduler decides on.

Claims are counted in columns, so that all nodes are asked at once. The planner keeps one
snapshot up to date; a scheduler works on a `copy`, which costs a few arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import Affinity, PriorityClass, meets
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.facts import Column, Facts, NodeFacts, bounded
from orchestrator.scheduler.protocol import HostPort, Shape

Key = TypeVar("Key")

Budget = Callable[[WorkloadKey], int | None]
"""None: as many as one likes."""


def unlimited(_workload: WorkloadKey) -> None:
    return None


Counts = dict[int, int]
"""How many, by the node's index; no zeroes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An assigned instance that is not confirmed gone. `is_leaving`: asked to stop already, so
    that it cannot be displaced any more."""

    instance: InstanceName
    shape: Shape
    gpus: tuple[int, ...] = ()
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Repulsion:
    """An anti-affinity of a workload, as `text`, that its claims hold against others."""

    workload: WorkloadKey
    text: str
    term: Affinity = field(compare=False)


class Snapshot:
    """`free` and `gpus_free` are in milli-units and may be below zero: nodes shrink, people edit
    rows. `labels` are those of each workload that has claims. `staying` has by priority what claims
    hold of each resource, `leaving` what those hold that are asked to stop. `budget` says how many
    instances of a workload may be disrupted now."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.free: dict[str, Column] = {
            name: column.copy() for name, column in facts.allocatable.items()
        }
        self.gpus_free: NDArray[np.int64] = facts.gpus.copy()
        self.gpu_shapes: Counter[Shape] = Counter()
        self.held: Column = np.zeros(len(facts), dtype=np.int64)
        self.ports: dict[HostPort, Counts] = {}
        self.labels: dict[WorkloadKey, Mapping[str, str]] = {}
        self.presence: dict[WorkloadKey, Counts] = {}
        self.repulsions: dict[Repulsion, Counts] = {}
        self.claims: list[dict[InstanceName, Claim]] = [{} for _ in facts.nodes]
        self.staying: list[dict[str, Column]] = [{} for _ in PriorityClass]
        self.leaving: dict[str, Column] = {}
        self.budget: Budget = unlimited
        self._owned: set[object] = set()

    @classmethod
    def of(cls, nodes: Iterable[NodeFacts], claims: Mapping[str, Iterable[Claim]]) -> Snapshot:
        """The nodes with the claims on each; those on nodes that are not there count nowhere."""
        snapshot = cls(Facts(nodes))
        for name in sorted(claims):
            if name in snapshot.facts.index:
                for claim in claims[name]:
                    snapshot.claim(name, claim)
        return snapshot

    def with_nodes(self, nodes: Iterable[NodeFacts]) -> Snapshot:
        """The same claims on other nodes, by name; those of nodes that are gone count nowhere.

        Counts are carried over, unless nodes have other kinds of resources or devices than
        before: then every claim is counted anew.
        """
        facts = Facts(nodes)
        old = self.facts
        stays = [facts.index.get(name) for name in old.names]
        if facts.resources != old.resources or not _same_gpus(old, facts):
            claims = zip(old.names, self.claims, strict=True)
            fresh = Snapshot.of(facts.nodes, {name: held.values() for name, held in claims})
            fresh.budget = self.budget
            return fresh
        other = Snapshot(facts)
        before = np.array([at for at, now in enumerate(stays) if now is not None], dtype=np.int64)
        after = np.array([now for now in stays if now is not None], dtype=np.int64)
        for name, column in other.free.items():
            column[after] -= (old.allocatable[name] - self.free[name])[before]
        other.gpus_free[after] = self.gpus_free[before]
        other.held[after] = self.held[before]
        for at in before.tolist():
            other.claims[stays[at]] = dict(self.claims[at])
            other.gpu_shapes.update(
                claim.shape for claim in self.claims[at].values() if claim.shape.gpu
            )
        other.ports = _moved(self.ports, stays)
        other.presence = _moved(self.presence, stays)
        other.repulsions = _moved(self.repulsions, stays)
        other.labels = {each: self.labels[each] for each in other.presence}
        for mine, theirs in zip(
            (*self.staying, self.leaving), (*other.staying, other.leaving), strict=True
        ):
            for name, column in mine.items():
                theirs[name] = np.zeros(len(facts), dtype=np.int64)
                theirs[name][after] = column[before]
        other.budget = self.budget
        return other

    def copy(self) -> Snapshot:
        """One to try placements on. The claims themselves are shared: no trial changes them."""
        other = object.__new__(Snapshot)
        other.facts, other.claims, other.labels = self.facts, self.claims, dict(self.labels)
        other.free = {name: column.copy() for name, column in self.free.items()}
        other.gpus_free, other.held = self.gpus_free.copy(), self.held.copy()
        other.gpu_shapes = Counter(self.gpu_shapes)
        other.ports = dict(self.ports)
        other.presence = dict(self.presence)
        other.repulsions = dict(self.repulsions)
        other.staying, other.leaving, other.budget = self.staying, self.leaving, self.budget
        self._owned, other._owned = set(), set()  # both have these counts now
        return other

    def fork(self) -> Snapshot:
        """One that goes its own way: what is claimed and released there changes nothing here."""
        other = self.copy()
        other.claims = [dict(held) for held in self.claims]
        other.staying = [_copied(columns) for columns in self.staying]
        other.leaving = _copied(self.leaving)
        return other

    def closing(self, node: str, refusal: str) -> Snapshot:
        """A copy in which one node takes nothing any more; what it holds counts as before."""
        other = self.copy()
        other.facts = self.facts.closing(node, refusal)
        return other

    def claim(self, node: str, claim: Claim) -> None:
        self.claim_all([(node, claim)])

    def claim_all(self, claims: Iterable[tuple[str, Claim]]) -> None:
        """What is alike is counted together, which is far quicker than one after the other."""
        alike: dict[tuple[Shape, bool], list[tuple[int, Claim]]] = {}
        for node, claim in claims:
            at = self.facts.index[node]
            self.claims[at][claim.instance] = claim
            alike.setdefault((claim.shape, claim.is_leaving), []).append((at, claim))
        for (shape, _), group in alike.items():
            places = [at for at, _ in group]
            self.take(shape, places, [claim.gpus for _, claim in group])
            self._sort(group[0][1], places, 1)

    def release(self, node: str, instance: InstanceName) -> None:
        at = self.facts.index[node]
        claim = self.claims[at].pop(instance)
        self.give_back(claim.shape, at, claim.gpus)
        self._sort(claim, [at], -1)

    def _sort(self, claim: Claim, places: Sequence[int], sign: int) -> None:
        """Count what could be displaced, and what is going anyway."""
        rank = claim.shape.priority.rank
        columns = self.leaving if claim.is_leaving else self.staying[rank]
        for name, amount in claim.shape.quantities.items():
            if name not in columns:
                columns[name] = np.zeros(len(self.facts), dtype=np.int64)
            np.add.at(columns[name], places, sign * bounded(amount))

    def take(
        self, shape: Shape, places: Sequence[int], gpus: Sequence[tuple[int, ...]] = ()
    ) -> None:
        """Count instances of the shape on nodes; a node may come more than once."""
        self._count(shape, places, 1)
        for at, devices in zip(places, gpus, strict=False):
            self._count_gpus(shape, at, devices, 1)

    def give_back(self, shape: Shape, at: int, gpus: tuple[int, ...]) -> None:
        self._count(shape, [at], -1)
        self._count_gpus(shape, at, gpus, -1)

    def _count(self, shape: Shape, places: Sequence[int], sign: int) -> None:
        for name, amount in shape.quantities.items():
            column = self.free.get(name)
            if column is not None:
                np.subtract.at(column, places, sign * bounded(amount))
        np.add.at(self.held, places, sign)
        for port in shape.host_ports:
            self._count_in(self.ports, port, places, sign)
        workload = shape.workload
        self._count_in(self.presence, workload, places, sign)
        if workload not in self.presence:
            self.labels.pop(workload, None)
        elif sign > 0:  # what goes may still have the labels of an earlier time
            self.labels[workload] = shape.labels
        for term in shape.placement.anti_affinity:
            repulsion = Repulsion(workload, str(term), term)
            self._count_in(self.repulsions, repulsion, places, sign)

    def _count_in(
        self, table: dict[Key, Counts], key: Key, places: Iterable[int], sign: int
    ) -> None:
        """Counts that another copy may have, too, are copied before they change; what counts
        nothing any more is dropped."""
        if key not in self._owned:
            self._owned.add(key)
            table[key] = dict(table.get(key, ()))
        counts = table[key]
        for at in places:
            counts[at] = counts.get(at, 0) + sign
            if not counts[at]:
                del counts[at]
        if not counts:
            del table[key]
            self._owned.discard(key)

    def _count_gpus(self, shape: Shape, at: int, devices: tuple[int, ...], sign: int) -> None:
        if shape.gpu is None:
            return
        self.gpu_shapes[shape] += sign
        if not self.gpu_shapes[shape]:
            del self.gpu_shapes[shape]
        width = self.gpus_free.shape[1]
        for device in devices:
            if 0 <= device < width:
                self.gpus_free[at, device] -= sign * shape.gpu.milli


def _copied(columns: Mapping[str, Column]) -> dict[str, Column]:
    return {name: column.copy() for name, column in columns.items()}


def _same_gpus(old: Facts, new: Facts) -> bool:
    devices = {node.name: node.gpus for node in old.nodes}
    widest = max((len(node.gpus) for node in new.nodes), default=0)
    return widest == old.gpus.shape[1] and all(
        devices.get(node.name, node.gpus) == node.gpus for node in new.nodes
    )


def _moved(table: Mapping[Key, Counts], stays: Sequence[int | None]) -> dict[Key, Counts]:
    """The same counts by the nodes' new indices."""
    moved: dict[Key, Counts] = {}
    for key, counts in table.items():
        kept = {now: count for at, count in counts.items() if (now := stays[at]) is not None}
        if kept:
            moved[key] = kept
    return moved


def is_meant(term: Affinity, workload: WorkloadKey, labels: Mapping[str, str]) -> bool:
    """Whether an affinity speaks of that workload of its own namespace."""
    return (
        term.workload in ("", workload.name)
        and all(labels.get(name) == value for name, value in term.labels.items())
        and all(meets(labels, each) for each in term.expressions)
    )
