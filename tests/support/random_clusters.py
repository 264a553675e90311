"""Small clusters and what is asked of them, drawn by chance, to compare schedulers on.

Each case draws first which features it has at all, so that some cases are crowded with them and
others show one or two alone; and all values come from a few, so that ties and clashes are common.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import (
    NODE_KEY,
    Affinity,
    NodeSelector,
    Operator,
    Placement,
    PriorityClass,
    Requirement,
    Strategy,
    Taint,
    TaintEffect,
    Toleration,
    TolerationOperator,
    TopologySpread,
    Unsatisfiable,
)
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import Pin, ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Claim

T = TypeVar("T")

FEATURES = (
    *("refusals", "runtimes", "selectors", "taints", "ports", "images", "resources", "failures"),
    *("affinity", "anti_affinity", "spread", "soft", "claims", "prefer", "priorities", "pack"),
    *("generations", "mixed_slots", "odd_labels", "namespaces", "absurd"),
    *("privileged", "host_paths", "pins"),
)
RESOURCES = ("cpu_cores", "memory_mb", "fpga")
TOPOLOGY_KEYS = (NODE_KEY, NODE_KEY, "zone", "zone", "rack", "rack", "nowhere")
NAMES = ("api", "db", "web", "work")


@dataclass(frozen=True, slots=True)
class Case:
    """`strategy` is the cluster's."""

    nodes: list[NodeFacts]
    claims: dict[str, list[Claim]]
    requests: list[ScheduleRequest]
    strategy: Strategy


def random_case(seed: int) -> Case:
    return _Draw(random.Random(seed)).case()


class _Draw:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        density = rng.choice((0.1, 0.25, 0.5))
        self.features = {each for each in FEATURES if rng.random() < density}
        self.terms = [self._term() for _ in range(3)]
        self.slots: dict[WorkloadKey, int] = {}

    def case(self) -> Case:
        nodes = self._nodes()
        shapes = [shape for name in self._workloads() for shape in self._generations(name)]
        claims = self._claims(nodes, shapes)
        requests = [each for shape in shapes for each in self._requests(shape, nodes)]
        if self._has("mixed_slots"):
            requests = self._with_slots_mixed(requests)
        self.rng.shuffle(requests)
        strategy = Strategy.PACK if self._has("pack") else Strategy.SPREAD
        return Case(nodes, claims, requests, strategy)

    def _nodes(self) -> list[NodeFacts]:
        count = self.rng.randint(1, 12)
        zones, racks = self.rng.randint(0, 3), self.rng.choice((0, 2, 3, count + 2))
        names = self.rng.sample([f"n{at:02d}" for at in range(20)], count)
        return [self._node(name, zones, racks) for name in names]

    def _node(self, name: str, zones: int, racks: int) -> NodeFacts:
        rng = self.rng
        labels = {"disk": rng.choice(("ssd", "hdd")), "age": rng.choice(("1", "2", "3"))}
        if zones:
            labels["zone"] = f"z{rng.randrange(zones)}"
        if racks:
            labels["rack"] = f"r{rng.randrange(racks)}"
        if self._has("odd_labels"):
            labels["age"] = rng.choice(("1", "-2", "x", ""))
        has_label = 0.7 if self._has("odd_labels") else 0.95
        labels = {key: value for key, value in labels.items() if rng.random() < has_label}
        return NodeFacts(
            name,
            self._allocatable(),
            labels=labels,
            taints=self._few("taints", self._taint),
            runtimes=frozenset({"process", *self._few("runtimes", lambda: "oci")}),
            images=frozenset(self._few("images", lambda: rng.choice("abc"))),
            allowed_binds=self._few("host_paths", lambda: rng.choice(("/srv", "/srv/a", "/dev"))),
            allows_privileged=self._has("privileged") and rng.random() < 0.7,
            refusal="is cordoned" if self._has("refusals") and rng.random() < 0.3 else "",
        )

    def _allocatable(self) -> dict[str, int]:
        rng = self.rng
        if not self._has("resources"):
            return {"cpu_cores": rng.choice((8000, 8000, 9000)), "memory_mb": 9000}
        amounts = {name: rng.choice((0, 1000, 2000, 3000)) for name in RESOURCES}
        return {name: amount for name, amount in amounts.items() if rng.random() < 0.9}

    def _taint(self) -> Taint:
        rng = self.rng
        key, value = rng.choice(("gpu", "old")), rng.choice(("", "yes"))
        return Taint(key, value, rng.choice(tuple(TaintEffect)))

    def _workloads(self) -> list[WorkloadKey]:
        names = self.rng.sample(NAMES, self.rng.randint(1, 4))
        spaces = ("default", "other") if self._has("namespaces") else ("default",)
        return [WorkloadKey(self.rng.choice(spaces), name) for name in names]

    def _generations(self, workload: WorkloadKey) -> list[Shape]:
        shape = self._shape(workload)
        if not self._has("generations"):
            return [shape]
        later = self._shape(workload)
        if self.rng.random() < 0.5:
            later = replace(later, placement=shape.placement)
        return [shape, replace(later, labels=shape.labels, priority=shape.priority)]

    def _shape(self, workload: WorkloadKey) -> Shape:
        rng = self.rng
        return Shape(
            workload,
            quantities=self._quantities(),
            host_ports=frozenset(self._few("ports", self._port)),
            runtime=rng.choice(("process", "oci")) if self._has("runtimes") else "process",
            images=frozenset(self._few("images", lambda: rng.choice("abcd"))),
            is_privileged=self._has("privileged") and rng.random() < 0.5,
            host_paths=self._host_paths(),
            labels={"app": rng.choice(("a", "b")), "level": rng.choice(("1", "2"))},
            placement=self._placement(),
            priority=rng.choice(tuple(PriorityClass))
            if self._has("priorities")
            else PriorityClass.NORMAL,
        )

    def _host_paths(self) -> frozenset[str]:
        paths = ("/srv", "/srv/a", "/srv/ab", "/dev/fuse")
        return frozenset(self._few("host_paths", lambda: self.rng.choice(paths))[:1])

    def _port(self) -> tuple[str, int]:
        return self.rng.choice(("tcp", "udp")), self.rng.choice((80, 443))

    def _quantities(self) -> dict[str, int]:
        rng = self.rng
        if self._has("absurd") and rng.random() < 0.2:
            return {"cpu_cores": rng.choice((-1, 10**30)), "memory_mb": 1}
        if not self._has("resources"):
            return {"cpu_cores": rng.choice((0, 1000, 1500)), "memory_mb": rng.choice((1, 1000))}
        amounts = {name: rng.choice((0, 1, 333, 500, 1000)) for name in RESOURCES}
        return {name: amount for name, amount in amounts.items() if rng.random() < 0.4}

    def _placement(self) -> Placement:
        pick = self.rng.choice((None, None, *Strategy)) if self._has("pack") else None
        return Placement(
            strategy=pick,
            nodes=self._few("selectors", self._selector),
            affinity=self._few("affinity", lambda: self.rng.choice(self.terms)),
            anti_affinity=self._few("anti_affinity", lambda: self.rng.choice(self.terms)),
            spread=self._few("spread", self._spread),
            tolerations=self._few("taints", self._toleration),
        )

    def _selector(self) -> NodeSelector:
        met = self._requirement(("zone", "disk", "age", NODE_KEY), ("z0", "z1", "ssd", "n01", "1"))
        return NodeSelector(met.key, met.operator, met.values, self._weight())

    def _requirement(self, keys: Sequence[str], values: Sequence[str]) -> Requirement:
        operator = self.rng.choice(tuple(Operator))
        key = self.rng.choice(keys)
        if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
            return Requirement(key, operator)
        if operator in (Operator.GT, Operator.LT):
            return Requirement("age", operator, (self.rng.choice(("1", "2", "-3")),))
        return Requirement(key, operator, tuple(self.rng.sample(values, 2)))

    def _term(self) -> Affinity:
        rng = self.rng
        labels = {key: rng.choice("ab") for key in ("app",) if rng.random() < 0.5}
        expressions = [self._requirement(("app", "level"), ("a", "b", "1")) for _ in range(2)]
        expressions = expressions[: rng.choice((0, 0, 1, 2))]
        name = rng.choice(("", *NAMES)) if labels or expressions else rng.choice(NAMES)
        return Affinity(name, labels, tuple(expressions), rng.choice(TOPOLOGY_KEYS), self._weight())

    def _weight(self) -> int | None:
        is_soft = self.rng.random() < (0.7 if self._has("soft") else 0.2)
        return self.rng.choice((1, 10, 50, 100)) if is_soft else None

    def _spread(self) -> TopologySpread:
        rng = self.rng
        is_soft = rng.random() < (0.6 if self._has("soft") else 0.1)
        return TopologySpread(
            rng.choice(TOPOLOGY_KEYS),
            max_skew=rng.randint(1, 3),
            min_domains=rng.choice((1, 1, 2, 4)),
            when_unsatisfiable=Unsatisfiable.SCHEDULE_ANYWAY
            if is_soft
            else Unsatisfiable.DO_NOT_SCHEDULE,
        )

    def _toleration(self) -> Toleration:
        rng = self.rng
        return Toleration(
            rng.choice(("", "gpu", "old")),
            rng.choice(tuple(TolerationOperator)),
            rng.choice(("", "yes")),
            rng.choice((None, *TaintEffect)),
        )

    def _claims(self, nodes: list[NodeFacts], shapes: list[Shape]) -> dict[str, list[Claim]]:
        """Wherever chance puts them, as people and lost nodes do: also where they do not fit."""
        if not self._has("claims"):
            return {}
        strangers = [self._shape(WorkloadKey("default", "old")), *shapes]
        sane = [shape for shape in strangers if set(shape.quantities.values()) < set(range(10_000))]
        claims: dict[str, list[Claim]] = {"n99": []}
        for _ in range(self.rng.randint(0, 10) if sane else 0):
            node = self.rng.choice([*(node.name for node in nodes), "n99"])
            shape = self.rng.choice(sane)
            claim = Claim(self._name(shape), shape, is_leaving=self.rng.random() < 0.2)
            claims.setdefault(node, []).append(claim)
        return claims

    def _requests(self, shape: Shape, nodes: list[NodeFacts]) -> list[ScheduleRequest]:
        rng = self.rng
        failed_on, prefer = {}, ""
        if self._has("failures"):
            failed_on = {node.name: rng.randint(0, 9) for node in nodes if rng.random() < 0.8}
            failed_on["gone"] = 1
        if self._has("prefer") and rng.random() < 0.5:
            prefer = rng.choice((rng.choice(nodes).name, "gone"))
        return [
            ScheduleRequest(
                self._name(shape), self._pinned(shape, nodes), failed_on, prefer, may_displace=False
            )
            for _ in range(rng.choice((1, 1, 2, 3, 5, 8)))
        ]

    def _pinned(self, shape: Shape, nodes: list[NodeFacts]) -> Shape:
        """Some slots have data somewhere; few have some in several places, or where nothing is."""
        rng = self.rng
        if not self._has("pins") or rng.random() < 0.5:
            return shape
        names = [*(node.name for node in nodes), *(["gone"] if rng.random() < 0.2 else [])]
        pins = [Pin("content", rng.choice(names)) for _ in range(rng.choice((1, 1, 1, 2)))]
        return replace(shape, pins=tuple(pins))

    def _with_slots_mixed(self, requests: list[ScheduleRequest]) -> list[ScheduleRequest]:
        """So that instances of two generations take turns, and batches end early."""
        slots = self.rng.sample(range(100), len(requests))
        return [
            replace(each, instance=each.instance._replace(slot=slot, attempt=2))
            for each, slot in zip(requests, slots, strict=True)
        ]

    def _name(self, shape: Shape) -> InstanceName:
        slot = self.slots.get(shape.workload, 0)
        self.slots[shape.workload] = slot + 1
        return InstanceName(*shape.workload, slot, 1)

    def _has(self, feature: str) -> bool:
        return feature in self.features

    def _few(self, feature: str, draw: Callable[[], T]) -> tuple[T, ...]:
        """Most often one, also none or two or three, if the case has the feature."""
        counts = (0, 1, 1, 1, 2, 3) if self._has(feature) else (0,)
        return tuple(draw() for _ in range(self.rng.choice(counts)))
