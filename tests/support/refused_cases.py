"""Requests that fit nowhere, drawn by chance: short of anything, constrained, contradictory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import NodeSelector, Operator, TopologySpread
from orchestrator.model.workload import GpuNeed, WorkloadKey
from orchestrator.scheduler.facts import Mask, NodeFacts
from orchestrator.scheduler.feasibility import feasible, impossible
from orchestrator.scheduler.plugins import FilterPlugin
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Claim, Snapshot
from tests.support.random_clusters import random_case

MODELS = ("A100", "T4", "")
REFUSALS = ("is cordoned", "is draining", "cannot be reached", "has been declared lost")


@dataclass(frozen=True, slots=True)
class Refused:
    """`seed` draws it again."""

    seed: int
    snapshot: Snapshot
    shape: Shape
    plugins: tuple[FilterPlugin, ...] = ()


def refused_cases(count: int, first: int = 0) -> Iterator[Refused]:
    """So many, from that seed on."""
    made, seed = 0, first
    while made < count:
        case = _drawn(seed)
        seed += 1
        if impossible(case.shape) or feasible(case.snapshot, case.shape, case.plugins).any():
            continue
        made += 1
        yield case


class OddOnly:
    """A filter of somebody's own: only nodes with an odd number in their names."""

    name = "odd-only"

    def passes(self, snapshot: Snapshot, _shape: Shape) -> Mask:
        return np.array([name[-1] in "13579" for name in snapshot.facts.names], dtype=np.bool_)


def _drawn(seed: int) -> Refused:
    rng = random.Random(seed)
    case = random_case(seed)
    asked = rng.choice(case.requests).shape
    nodes = [] if rng.random() < 0.03 else [_node(rng, node) for node in case.nodes]
    claims = {node.name: [*case.claims.get(node.name, ()), *_holding(rng, node)] for node in nodes}
    plugins = (OddOnly(),) if rng.random() < 0.1 else ()
    return Refused(seed, Snapshot.of(nodes, claims), _shape(rng, asked), plugins)


def _node(rng: random.Random, node: NodeFacts) -> NodeFacts:
    gpus = tuple(rng.choice(MODELS) for _ in range(rng.choice((0, 0, 1, 2, 4))))
    is_closed = rng.random() < rng.choice((0.1, 0.1, 0.8))
    refusal = rng.choice(REFUSALS) if is_closed else node.refusal
    return replace(node, gpus=gpus, refusal=refusal)


def _holding(rng: random.Random, node: NodeFacts) -> list[Claim]:
    """Devices and ports that are in use; what rows say may also be nonsense."""
    shape = Shape(
        WorkloadKey("default", "holder"),
        quantities={"cpu_cores": rng.choice((0, 1, 999, 1000, 8000))},
        gpu=GpuNeed(rng.choice((1, 460, 1000)), 1),
        host_ports=frozenset({("tcp", 80)} if rng.random() < 0.3 else ()),
    )
    device = rng.randrange(len(node.gpus) + 1)
    return [
        Claim(InstanceName("default", "holder", slot, 1), shape, (device,))
        for slot in range(rng.randrange(3))
    ]


def _shape(rng: random.Random, shape: Shape) -> Shape:
    placement = shape.placement
    if rng.random() < 0.2:
        selectors = (*placement.nodes, *(_selector(rng) for _ in range(rng.randint(1, 3))))
        placement = replace(placement, nodes=selectors)
    if rng.random() < 0.2:
        spread = TopologySpread(rng.choice(("zone", "rack", "nowhere", "node")), rng.randint(1, 2))
        placement = replace(placement, spread=(*placement.spread, spread))
    quantities = {
        name: rng.choice((amount, amount, 0, amount * 7 + 1, 10**9))
        for name, amount in shape.quantities.items()
    }
    gpu = None
    if rng.random() < 0.4:
        models = tuple(rng.sample(("A100", "T4", "H100"), rng.choice((0, 0, 1, 2))))
        share = rng.choice((1, 460, 999))
        gpu = rng.choice((GpuNeed(share, 1, models), GpuNeed(1000, rng.randint(1, 5), models)))
    ports = shape.host_ports | frozenset({("tcp", 80)} if rng.random() < 0.3 else ())
    runtime = "oci" if rng.random() < 0.1 else shape.runtime
    return replace(
        shape,
        placement=placement,
        quantities=quantities,
        gpu=gpu,
        host_ports=ports,
        runtime=runtime,
    )


def _selector(rng: random.Random) -> NodeSelector:
    key = rng.choice(("zone", "disk", "age", "node", "nobody-has-it"))
    operator = rng.choice(tuple(Operator))
    values = {
        Operator.EXISTS: (),
        Operator.DOES_NOT_EXIST: (),
        Operator.GT: (rng.choice(("1", "7", "-3")),),
        Operator.LT: (rng.choice(("1", "7", "-3")),),
    }.get(operator, tuple(rng.sample(("z0", "z7", "ssd", "n01", "n42"), rng.randint(1, 2))))
    return NodeSelector(key, operator, values)
