"""What a set of decisions breaks, seen from how the cluster looks when all of them are carried out.

It asks nothing about the order in which they were made, and shares no code with any scheduler:
it looks at every instance, and at every two of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from orchestrator.model.container import is_allowed_path
from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import (
    NODE_KEY,
    Affinity,
    TaintEffect,
    TopologySpread,
    Unsatisfiable,
    meets,
)
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import Shape
from tests.support.random_clusters import Case


@dataclass(frozen=True, slots=True)
class Placed:
    instance: InstanceName
    shape: Shape
    node: NodeFacts
    is_new: bool

    def domain(self, topology_key: str) -> str | None:
        return _label(self.node, topology_key)


def broken_constraints(case: Case, chosen: Sequence[str | None]) -> list[str]:
    """One sentence for each hard constraint that the newly placed do not respect."""
    nodes = {node.name: node for node in case.nodes}
    placed = [
        Placed(claim.instance, claim.shape, nodes[name], is_new=False)
        for name, claims in case.claims.items()
        for claim in claims
        if name in nodes
    ]
    placed += [
        Placed(request.instance, request.shape, nodes[name], is_new=True)
        for request, name in zip(case.requests, chosen, strict=True)
        if name is not None
    ]
    new = [each for each in placed if each.is_new]
    return [
        *(fault for each in new for fault in _alone(each)),
        *(fault for one, other in product(new, placed) for fault in _together(one, other)),
        *(fault for node in case.nodes for fault in _overfull(node, placed)),
        *(fault for each in new for fault in _without_company(each, placed)),
        *(fault for each in new for fault in _lopsided(each, placed, case.nodes)),
    ]


def _alone(each: Placed) -> Iterator[str]:
    node, shape = each.node, each.shape
    if not _is_for(node, shape):
        yield f"{each.instance} is on {node.name}, which does not take it"
    if any(pin.node != node.name for pin in shape.pins):
        yield f"{each.instance} is on {node.name}, but has data elsewhere"


def _is_for(node: NodeFacts, shape: Shape) -> bool:
    labels = {**node.labels, NODE_KEY: node.name}
    needed = [each.requirement for each in shape.placement.nodes if each.weight is None]
    bad = [taint for taint in node.taints if taint.effect is not TaintEffect.PREFER_NO_SCHEDULE]
    return (
        not node.refusal
        and shape.runtime in node.runtimes
        and node.allows_privileged >= shape.is_privileged
        and all(is_allowed_path(path, node.allowed_binds) for path in shape.host_paths)
        and all(meets(labels, each) for each in needed)
        and all(any(each.covers(taint) for each in shape.placement.tolerations) for taint in bad)
    )


def _together(one: Placed, other: Placed) -> Iterator[str]:
    """`one` is new; whom it keeps away from, and who keeps away from it."""
    if one.instance == other.instance:
        return
    if one.node is other.node and one.shape.host_ports & other.shape.host_ports:
        yield f"{one.instance} and {other.instance} want the same port of {one.node.name}"
    for holder, meant in ((one, other), (other, one)):
        for term in holder.shape.placement.anti_affinity:
            is_near = _are_near(one, other, term.topology_key)
            if term.weight is None and is_near and _means(term, holder, meant):
                yield f"{holder.instance} keeps away from {meant.instance}, but is near it"


def _overfull(node: NodeFacts, placed: Sequence[Placed]) -> Iterator[str]:
    """Only of resources that a new instance asks for: others may be over-committed already."""
    here = [each for each in placed if each.node is node]
    asked = {name for each in here if each.is_new for name, n in each.shape.quantities.items() if n}
    for name in asked:
        used = sum(each.shape.quantities.get(name, 0) for each in here)
        if used > node.allocatable.get(name, 0):
            yield f"{node.name} has not that much {name}"


def _without_company(each: Placed, placed: Sequence[Placed]) -> Iterator[str]:
    """It is company to itself, if it is one of those who are meant and nobody was there first."""
    for term in each.shape.placement.affinity:
        if term.weight is not None:
            continue
        meant = [other for other in placed if _means(term, each, other)]
        if not any(_are_near(each, other, term.topology_key) for other in meant):
            yield f"{each.instance} has nobody of {term} near it"


def _lopsided(each: Placed, placed: Sequence[Placed], nodes: Sequence[NodeFacts]) -> Iterator[str]:
    """Told only of workloads all of whose new instances hold to the same: the emptiest domain has
    never fewer than before, so that what was right when it was done is right in the end."""
    own = [other for other in placed if other.shape.workload == each.shape.workload]
    if any(other.is_new and other.shape is not each.shape for other in own):
        return
    for spread in each.shape.placement.spread:
        if spread.when_unsatisfiable is Unsatisfiable.DO_NOT_SCHEDULE:
            yield from _skewed(each, own, nodes, spread)


def _skewed(
    each: Placed, own: Sequence[Placed], nodes: Sequence[NodeFacts], spread: TopologySpread
) -> Iterator[str]:
    key, domain = spread.topology_key, each.domain(spread.topology_key)
    counts = Counter(other.domain(key) for other in own)
    able = {_label(node, key) for node in nodes if _is_for(node, each.shape)} - {None}
    lowest = min(counts[other] for other in able) if len(able) >= spread.min_domains else 0
    if domain is None or counts[domain] > lowest + spread.max_skew:
        yield f"{each.instance} is one too many in {key} {domain}"


def _are_near(one: Placed, other: Placed, topology_key: str) -> bool:
    domain = one.domain(topology_key)
    return domain is not None and domain == other.domain(topology_key)


def _means(term: Affinity, holder: Placed, other: Placed) -> bool:
    labels = other.shape.labels
    return (
        holder.shape.workload.namespace == other.shape.workload.namespace
        and term.workload in ("", other.shape.workload.name)
        and all(labels.get(key) == value for key, value in term.labels.items())
        and all(meets(labels, each) for each in term.expressions)
    )


def _label(node: NodeFacts, key: str) -> str | None:
    return node.name if key == NODE_KEY else node.labels.get(key)
