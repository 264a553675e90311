"""A scheduler to measure the real one by: slow, obvious, and made of the nouns alone.

It places one instance at a time, looks at every node for it, and works everything out afresh
from the nodes and their claims. It has no columns, no batches and nothing that it remembers, so
that each rule can be read here as a sentence, beside what people know from Kubernetes:

- A zero request asks for nothing. What is negative is refused.
- An instance counts for affinity and spread wherever it is, also on nodes that are closed.
- The first instance of what has affinity to itself may go to any domain; a node without the
  label is in no domain, so that affinity and hard spread refuse it and nothing else does.
- Spread compares a domain with the emptiest one among those with a node that could take the
  shape, whatever runs on it. There, all instances of the workload count, of any generation.
- A soft rule is worth its weight once, however many instances meet or break it in the domain;
  soft anti-affinity that others hold counts once for each workload and term.

Requests are served as `protocol.in_turn` has them; plug-ins are asked once for each batch:
requests served in a row that differ in their names only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.model.placement import (
    NODE_KEY,
    Affinity,
    Strategy,
    Taint,
    TaintEffect,
    TopologySpread,
    Unsatisfiable,
    meets,
)
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Claim

TAINT_POINTS, IMAGE_POINTS, SPREAD_POINTS = 50, 10, 10
MOST_FAILURES = 7
"""More failures than that on one node do not make it any worse."""

Claims = Mapping[str, Sequence[Claim]]
Plugin = Callable[[Claims, Shape], Mapping[str, int]]
"""Points by node; of a filter: the nodes that may take the shape are those with points."""


@dataclass(frozen=True, slots=True)
class ReferenceScheduler:
    strategy: Strategy = Strategy.SPREAD
    filters: tuple[Plugin, ...] = ()
    scores: tuple[Plugin, ...] = ()

    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeFacts], claims: Claims
    ) -> list[str | None]:
        """The node of each request, in the requests' order; None for those that get none."""
        cluster = ReferenceCluster(nodes, claims)
        found: dict[int, str | None] = {}
        turns = sorted(
            range(len(requests)),
            key=lambda at: (
                -requests[at].shape.priority.rank,
                not requests[at].shape.pins,
                requests[at].instance,
            ),
        )
        for _, turn in groupby(turns, key=lambda at: _but_for_its_name(requests[at])):
            batch = list(turn)
            opinions = self._opinions(cluster, requests[batch[0]].shape)
            for at in batch:
                found[at] = self._place(cluster, requests[at], opinions)
        return [found[at] for at in range(len(requests))]

    def _opinions(self, cluster: ReferenceCluster, shape: Shape) -> dict[str, int]:
        """Of the plug-ins: the points of each node that they let pass."""
        allowed = [plugin(cluster.claims, shape) for plugin in self.filters]
        points = [plugin(cluster.claims, shape) for plugin in self.scores]
        return {
            node.name: sum(each.get(node.name, 0) for each in points)
            for node in cluster.nodes
            if all(each.get(node.name, 0) for each in allowed)
        }

    def _place(
        self, cluster: ReferenceCluster, request: ScheduleRequest, opinions: dict[str, int]
    ) -> str | None:
        shape = request.shape
        if any(amount < 0 for amount in shape.quantities.values()):
            return None
        strategy = shape.placement.strategy or self.strategy
        fitting = [
            node for node in cluster.nodes if node.name in opinions and cluster.fits(node, shape)
        ]
        if not fitting:
            return None

        def rank(node: NodeFacts) -> tuple[object, ...]:
            return (
                node.name != request.prefer,
                min(request.failed_on.get(node.name, 0), MOST_FAILURES),
                -cluster.points(node, shape) - opinions[node.name],
                cluster.crowding(node, shape, strategy),
                node.name,
            )

        best = min(fitting, key=rank)
        cluster.claims[best.name].append(Claim(request.instance, shape))
        return best.name


def _but_for_its_name(request: ScheduleRequest) -> tuple[object, ...]:
    return id(request.shape), sorted(request.failed_on.items()), request.prefer


class ReferenceCluster:
    """Nodes and the claims on them; `claims` may be appended to."""

    def __init__(self, nodes: Sequence[NodeFacts], claims: Claims) -> None:
        self.nodes = nodes
        self.claims = {node.name: list(claims.get(node.name, ())) for node in nodes}

    def fits(self, node: NodeFacts, shape: Shape) -> bool:
        return (
            could_take(node, shape)
            and all(pin.node == node.name for pin in shape.pins)
            and self._ports_are_free(node, shape)
            and self._has_room(node, shape)
            and all(
                self._has_company(node, shape, term) for term in _hard(shape.placement.affinity)
            )
            and not any(
                self._domain_has(node, term, shape) for term in _hard(shape.placement.anti_affinity)
            )
            and not any(term.weight is None for _, term in self._held_against(node, shape))
            and all(
                self._excess(node, shape, spread) <= 0
                for spread in shape.placement.spread
                if spread.when_unsatisfiable is Unsatisfiable.DO_NOT_SCHEDULE
            )
        )

    def points(self, node: NodeFacts, shape: Shape) -> int:
        """What the preferences say of the node: more is better."""
        placement = shape.placement
        return sum(
            (
                *(
                    selector.weight
                    for selector in placement.nodes
                    if selector.weight and meets(labels_of(node), selector.requirement)
                ),
                *(-TAINT_POINTS for taint in untolerated(node, shape) if not _forbids(taint)),
                *(IMAGE_POINTS for image in shape.images if image in node.images),
                *(
                    term.weight
                    for term in placement.affinity
                    if term.weight and self._domain_has(node, term, shape)
                ),
                *(
                    -term.weight
                    for term in placement.anti_affinity
                    if term.weight and self._domain_has(node, term, shape)
                ),
                *(-term.weight for _, term in self._held_against(node, shape) if term.weight),
                *(
                    -SPREAD_POINTS * self._crowding_of_domain(node, shape, spread)
                    for spread in placement.spread
                    if spread.when_unsatisfiable is Unsatisfiable.SCHEDULE_ANYWAY
                ),
            )
        )

    def _crowding_of_domain(self, node: NodeFacts, shape: Shape, spread: TopologySpread) -> int:
        """By how much one more is too many; in no domain at all, one more than in the worst."""
        if domain_of(node, spread.topology_key) is not None:
            return max(0, self._excess(node, shape, spread))
        others = [each for each in self.nodes if domain_of(each, spread.topology_key) is not None]
        return 1 + max((max(0, self._excess(each, shape, spread)) for each in others), default=0)

    def crowding(self, node: NodeFacts, shape: Shape, strategy: Strategy) -> tuple[int, ...]:
        """Less is better. Load is the largest share, in thousandths, of a requested resource."""
        load = max(
            (
                (self._used(node, name) + amount) * 1000 // node.allocatable[name]
                for name, amount in shape.quantities.items()
                if amount
            ),
            default=0,
        )
        if strategy is Strategy.PACK:
            return (-load,)
        held = self.claims[node.name]
        own = sum(1 for claim in held if claim.shape.workload == shape.workload)
        return own, load, len(held)

    def _ports_are_free(self, node: NodeFacts, shape: Shape) -> bool:
        return not any(
            claim.shape.host_ports & shape.host_ports for claim in self.claims[node.name]
        )

    def _has_room(self, node: NodeFacts, shape: Shape) -> bool:
        return all(
            self._used(node, name) + amount <= node.allocatable.get(name, 0)
            for name, amount in shape.quantities.items()
            if amount
        )

    def _used(self, node: NodeFacts, resource: str) -> int:
        return sum(claim.shape.quantities.get(resource, 0) for claim in self.claims[node.name])

    def _has_company(self, node: NodeFacts, shape: Shape, term: Affinity) -> bool:
        """Hard affinity: somebody who is meant is in the domain, or nobody is in any, and it is
        itself one of those who are meant."""
        if domain_of(node, term.topology_key) is None:
            return False
        if any(self._domain_has(other, term, shape) for other in self.nodes):
            return self._domain_has(node, term, shape)
        return is_meant(term, shape, shape)

    def _domain_has(self, node: NodeFacts, term: Affinity, holder: Shape) -> bool:
        """Whether anyone of whom the term of `holder` speaks is in the node's domain."""
        return any(
            is_meant(term, holder, claim.shape)
            for _, claim in self._within(node, term.topology_key)
        )

    def _held_against(self, node: NodeFacts, shape: Shape) -> list[tuple[object, Affinity]]:
        """(workload, term) of the anti-affinity to the shape that others in the node's domain
        hold; what the shape holds itself in the same words is not counted again."""
        found: list[tuple[object, Affinity]] = []
        for claim in (claim for held in self.claims.values() for claim in held):
            for term in claim.shape.placement.anti_affinity:
                pair = (claim.shape.workload, term)
                is_own = pair[0] == shape.workload and term in shape.placement.anti_affinity
                is_near = any(each is claim for _, each in self._within(node, term.topology_key))
                if is_near and not is_own and is_meant(term, claim.shape, shape):
                    found += [] if pair in found else [pair]
        return found

    def _excess(self, node: NodeFacts, shape: Shape, spread: TopologySpread) -> int:
        """By how much one more on the node would be too many; without the label, any is."""
        domain = domain_of(node, spread.topology_key)
        if domain is None:
            return 1
        able = (each for each in self.nodes if could_take(each, shape))
        domains = {domain_of(each, spread.topology_key): each for each in able}
        domains.pop(None, None)
        counts = [self._own(each, shape, spread) for each in domains.values()]
        lowest = min(counts) if len(counts) >= max(spread.min_domains, 1) else 0
        return self._own(node, shape, spread) + 1 - lowest - spread.max_skew

    def _own(self, node: NodeFacts, shape: Shape, spread: TopologySpread) -> int:
        """How many of the workload are in the node's domain."""
        near = self._within(node, spread.topology_key)
        return sum(1 for _, claim in near if claim.shape.workload == shape.workload)

    def _within(self, node: NodeFacts, topology_key: str) -> Iterator[tuple[NodeFacts, Claim]]:
        """All that runs in the node's domain; nothing if it is in none."""
        domain = domain_of(node, topology_key)
        for other in self.nodes:
            if domain is not None and domain_of(other, topology_key) == domain:
                yield from ((other, claim) for claim in self.claims[other.name])


def could_take(node: NodeFacts, shape: Shape) -> bool:
    """Whatever runs on it: state, runtime, what it allows, hard selectors and taints say nothing
    against it."""
    return (
        not node.refusal
        and shape.runtime in node.runtimes
        and (node.allows_privileged or not shape.is_privileged)
        and all(_allows(node, path) for path in shape.host_paths)
        and all(
            meets(labels_of(node), selector.requirement)
            for selector in shape.placement.nodes
            if selector.weight is None
        )
        and not any(_forbids(taint) for taint in untolerated(node, shape))
    )


def _allows(node: NodeFacts, path: str) -> bool:
    above = path.split("/")
    return any(above[: len(each.split("/"))] == each.split("/") for each in node.allowed_binds)


def labels_of(node: NodeFacts) -> dict[str, str]:
    return {**node.labels, NODE_KEY: node.name}


def domain_of(node: NodeFacts, topology_key: str) -> str | None:
    return labels_of(node).get(topology_key)


def untolerated(node: NodeFacts, shape: Shape) -> list[Taint]:
    tolerations = shape.placement.tolerations
    return [taint for taint in node.taints if not any(each.covers(taint) for each in tolerations)]


def is_meant(term: Affinity, holder: Shape, other: Shape) -> bool:
    """Whether the term of one shape speaks of another."""
    return (
        holder.workload.namespace == other.workload.namespace
        and term.workload in ("", other.workload.name)
        and term.labels.items() <= other.labels.items()
        and all(meets(other.labels, each) for each in term.expressions)
    )


def _forbids(taint: Taint) -> bool:
    return taint.effect in (TaintEffect.NO_SCHEDULE, TaintEffect.NO_EXECUTE)


def _hard(terms: Sequence[Affinity]) -> list[Affinity]:
    return [term for term in terms if term.weight is None]
