"""Who must give way, found by trying every set of instances on every node.

It serves one request after the other, as `protocol.in_turn` has them, on nodes without any
constraints but room: resources, host ports and devices. Who finds room without displacing anybody
is put where the scheduler has put him: which node is best for him is not its matter.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain, combinations

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import PriorityClass
from orchestrator.model.workload import GpuNeed, WorkloadKey
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import (
    AssignNode,
    ScheduleDecision,
    ScheduleRequest,
    Shape,
)
from orchestrator.scheduler.snapshot import Claim

MOST_LOAD = 1023
"""Fuller than that is as bad as that."""

Decision = tuple[str, frozenset[InstanceName]] | None
"""The node, and who gives way there."""


@dataclass(slots=True)
class ReferenceDisplacer:
    """`budgets`: how many of a workload may be disrupted, if it has a budget at all. `made` are
    the decisions that are judged."""

    nodes: Sequence[NodeFacts]
    claims: dict[str, list[Claim]]
    budgets: dict[WorkloadKey, int]
    made: Mapping[InstanceName, ScheduleDecision] = field(default_factory=dict)
    displaced: set[InstanceName] = field(default_factory=set)

    def decide(self, requests: Sequence[ScheduleRequest]) -> list[Decision]:
        """In the order in which they are served."""
        ordered = sorted(
            requests,
            key=lambda each: (-each.shape.priority.rank, not each.shape.pins, each.instance),
        )
        return [self._serve(each) for each in ordered]

    def _serve(self, request: ScheduleRequest) -> Decision:
        shape = request.shape
        fitting = [node for node in self.nodes if self.fits(node, shape, ())]
        if fitting:
            return self._follow(request, {node.name for node in fitting})
        leaving = {node.name: self._leaving(node) for node in self.nodes}
        if any(self.fits(node, shape, leaving[node.name]) for node in self.nodes):
            return None  # room is coming free
        found = [
            (
                max(each.shape.priority.rank for each in some),
                len(some),
                self._cost(node, shape),
                some,
            )
            for node in self.nodes
            for some in self._sets(node, request)
            if self.fits(node, shape, [*leaving[node.name], *some])
        ]
        if not found:
            return None
        *_, victims = min(found, key=lambda each: (*each[:3], names_by_rank(each[3])))
        node = next(each for each in self.nodes if victims[0] in self.claims[each.name])
        self._place(node, request, [*leaving[node.name], *victims])
        self.displaced |= {each.instance for each in victims}
        return node.name, frozenset(each.instance for each in victims)

    def _follow(self, request: ScheduleRequest, fitting: Set[str]) -> Decision:
        made = self.made.get(request.instance)
        if not isinstance(made, AssignNode) or made.node not in fitting:
            return min(fitting), frozenset()
        self.claims[made.node].append(Claim(request.instance, request.shape, made.gpus))
        return made.node, frozenset()

    def _sets(self, node: NodeFacts, request: ScheduleRequest) -> Iterable[tuple[Claim, ...]]:
        able = [
            each
            for each in self.claims[node.name]
            if each.shape.priority.rank < request.shape.priority.rank
            and not self._is_leaving(each)
            and request.may_displace
        ]
        every = chain.from_iterable(combinations(able, size) for size in range(1, len(able) + 1))
        return (some for some in every if self._is_affordable(some))

    def _is_affordable(self, some: Iterable[Claim]) -> bool:
        gone = [each for held in self.claims.values() for each in held]
        spent = Counter(each.shape.workload for each in gone if each.instance in self.displaced)
        spent.update(each.shape.workload for each in some)
        return all(count <= self.budgets.get(key, 1000) for key, count in spent.items())

    def _leaving(self, node: NodeFacts) -> list[Claim]:
        return [each for each in self.claims[node.name] if self._is_leaving(each)]

    def _is_leaving(self, claim: Claim) -> bool:
        return claim.is_leaving or claim.instance in self.displaced

    def fits(self, node: NodeFacts, shape: Shape, gone: Sequence[Claim]) -> bool:
        """Whether all is free that it asks for, when those are gone."""
        held = [each for each in self.claims[node.name] if each not in gone]
        return (
            not node.refusal
            and all(
                amount == 0 or used(held, name) + amount <= node.allocatable.get(name, 0)
                for name, amount in shape.quantities.items()
            )
            and not any(each.shape.host_ports & shape.host_ports for each in held)
            and devices(node, held, shape.gpu) is not None
        )

    def _cost(self, node: NodeFacts, shape: Shape) -> tuple[bool, int, int, int, str]:
        is_wasted = shape.gpu is None and bool(node.gpus)
        held = self.claims[node.name]
        own = sum(1 for each in held if each.shape.workload == shape.workload)
        shares = [
            (used(held, name) + amount) * 1000 // max(node.allocatable.get(name, 0), 1)
            for name, amount in shape.quantities.items()
            if amount and any(name in each.allocatable for each in self.nodes)
        ]
        return is_wasted, own, min(max(shares, default=0), MOST_LOAD), len(held), node.name

    def _place(self, node: NodeFacts, request: ScheduleRequest, gone: Sequence[Claim]) -> None:
        held = [each for each in self.claims[node.name] if each not in gone]
        gpus = devices(node, held, request.shape.gpu)
        assert gpus is not None
        self.claims[node.name].append(Claim(request.instance, request.shape, gpus))


def used(held: Iterable[Claim], resource: str) -> int:
    return sum(each.shape.quantities.get(resource, 0) for each in held)


def devices(node: NodeFacts, held: Iterable[Claim], need: GpuNeed | None) -> tuple[int, ...] | None:
    """The fullest that will do; None if there are too few."""
    free = dict.fromkeys(range(len(node.gpus)), 1000)
    for claim in held:
        for device in claim.gpus:
            free[device] -= claim.shape.gpu.milli if claim.shape.gpu else 0
    if need is None:
        return ()
    fit = [
        device
        for device, left in sorted(free.items(), key=lambda pair: (pair[1], pair[0]))
        if left >= need.milli and (not need.models or node.gpus[device] in need.models)
    ]
    return tuple(sorted(fit[: need.count])) if len(fit) >= need.count else None


def names_by_rank(some: Iterable[Claim]) -> list[tuple[int, InstanceName]]:
    return sorted((each.shape.priority.rank, each.instance) for each in some)


@dataclass(frozen=True, slots=True)
class CrowdedCase:
    nodes: list[NodeFacts]
    claims: dict[str, list[Claim]]
    budgets: dict[WorkloadKey, int]
    requests: list[ScheduleRequest]


def crowded_case(seed: int) -> CrowdedCase:
    """A few small nodes, full of instances of all priorities, and who would have their room."""
    rng = random.Random(seed)
    has_gpus, has_ports = rng.random() < 0.4, rng.random() < 0.3
    shapes = [_shape(rng, f"w{at}", has_gpus=has_gpus, has_ports=has_ports) for at in range(5)]
    nodes = [_node(rng, f"n{at}", has_gpus=has_gpus) for at in range(rng.randint(1, 4))]
    claims = {node.name: _filled(rng, node, shapes) for node in nodes}
    budgets = {shape.workload: rng.randint(0, 3) for shape in shapes if rng.random() < 0.4}
    asked = [
        _shape(rng, f"new{at}", has_gpus=has_gpus, has_ports=has_ports)
        for at in range(rng.randint(1, 3))
    ]
    requests = [
        ScheduleRequest(
            InstanceName(*shape.workload, slot, 1), shape, may_displace=rng.random() < 0.95
        )
        for shape in asked
        for slot in range(rng.randint(1, 3))
    ]
    return CrowdedCase(nodes, claims, budgets, requests)


def _node(rng: random.Random, name: str, *, has_gpus: bool) -> NodeFacts:
    return NodeFacts(
        name,
        {"cpu_cores": rng.choice((2000, 4000)), "memory_mb": rng.choice((4000, 8000))},
        gpus=tuple(rng.choice("ab") for _ in range(rng.randint(0, 2))) if has_gpus else (),
        refusal="is cordoned" if rng.random() < 0.05 else "",
    )


def _shape(rng: random.Random, name: str, *, has_gpus: bool, has_ports: bool) -> Shape:
    need = rng.choice((GpuNeed(300, 1), GpuNeed(700, 1, ("a",)), GpuNeed(1000, rng.randint(1, 2))))
    return Shape(
        WorkloadKey("default", name),
        quantities={
            "cpu_cores": rng.choice((0, 500, 1000, 2000)),
            "memory_mb": rng.choice((500, 1000, 3000)),
        },
        gpu=need if has_gpus and rng.random() < 0.5 else None,
        host_ports=frozenset({("tcp", rng.choice((80, 443)))})
        if has_ports and rng.random() < 0.5
        else frozenset(),
        priority=rng.choice(tuple(PriorityClass)),
    )


def _filled(rng: random.Random, node: NodeFacts, shapes: list[Shape]) -> list[Claim]:
    """As many as fit of those that chance picks; some of them are on their way out."""
    held: list[Claim] = []
    for slot in range(12):
        shape = rng.choice(shapes)
        scene = ReferenceDisplacer([node], {node.name: held}, {})
        gpus = devices(node, held, shape.gpu)
        if gpus is not None and scene.fits(node, shape, ()) and len(held) < 8:
            name = InstanceName(*shape.workload, slot, int(node.name[1:]))
            held.append(Claim(name, shape, gpus, is_leaving=rng.random() < 0.1))
    return held
