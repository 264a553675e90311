"""`Occupancy`: the scheduler's snapshot of a `ClusterState`, kept up to date as that changes.

It is a pure function of the state: looking at what has changed since is only quicker than looking
at all of it, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Wanted, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey, RevisionName
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.resources import GPU, MILLI
from orchestrator.model.rules.resources import MAX_GPUS
from orchestrator.model.views import Node, is_declared_lost, node_of, status_of
from orchestrator.model.workload import WorkloadKey, WorkloadTemplate
from orchestrator.planning.pins import pins_of
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import Shape, shape_of
from orchestrator.scheduler.snapshot import Claim, Snapshot

_OF_NODES = (Kind.DESIRED_NODE, Kind.NODE_REPORT, Kind.SESSION)

FEW = 1000
"""Changed places that are never worth looking through."""


class Occupancy:
    """Follows one state from when it is made until `close`."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._shapes: dict[WorkloadKey, dict[int, Shape]] = {}
        self._facts: dict[str, NodeFacts] = {}
        self._held: dict[InstancePlace, Claim] = {}
        self._snapshot = Snapshot.of((), {})
        self._snapshot.budget = self._budget
        self._nodes: set[str] = set(state.node_names())
        self._workloads: set[WorkloadKey] = set()
        self._places: set[InstancePlace] = set(state.assignments)
        self._forget_at = 2 * len(self._places) + FEW
        state.followers.append(self._follow)

    def close(self) -> None:
        self._state.followers.remove(self._follow)

    def fork(self, copy: ClusterState) -> Occupancy:
        """The same of a `copy` of the state, which it follows from now on."""
        other = Occupancy(copy)
        other._shapes = {key: dict(shapes) for key, shapes in self._shapes.items()}
        other._facts, other._held = dict(self._facts), dict(self._held)
        other._snapshot = self._snapshot.fork()
        other._snapshot.budget = other._budget
        other._nodes, other._workloads = set(self._nodes), set(self._workloads)
        other._places = set(self._places)
        return other

    def _follow(self, parsed: ParsedKey) -> None:
        name = parsed.name
        if isinstance(name, InstancePlace):
            if parsed.kind is Kind.OBSERVATION and self._still_holds(name):
                return  # the bulk of all news: it was pending, and now it runs
            self._places.add(name)
            self._forget_idle_places()
        elif parsed.kind in _OF_NODES:
            assert isinstance(name, str)
            self._nodes.add(name)
        elif parsed.kind is Kind.REVISION:
            assert isinstance(name, RevisionName)
            self._workloads.add(name.workload)
        elif parsed.kind is Kind.WORKLOAD:
            assert isinstance(name, WorkloadKey)
            self._workloads.add(name)

    def _still_holds(self, place: InstancePlace) -> bool:
        """Whether what its node says of it leaves its claim as it was counted."""
        entry = self._state.observations.get(place)
        return place in self._held and (entry is None or not entry.record.status.is_finished)

    def _forget_idle_places(self) -> None:
        """Nobody may ask for a snapshot for weeks: what came and went meanwhile is not kept."""
        if len(self._places) < self._forget_at:
            return
        known = self._state.assignments
        self._places = {each for each in self._places if each in known or each in self._held}
        self._forget_at = 2 * len(self._places) + FEW

    def snapshot(self) -> Snapshot:
        """Of the state as it is now. It is shared: copy it before you try anything on it."""
        self._renew_shapes()
        self._renew_nodes()
        self._renew_claims()
        return self._snapshot

    def without(self, place: InstancePlace) -> Snapshot:
        """A snapshot of one's own in which the instance has left its node."""
        trial = self.snapshot().copy()
        claim = self._held.get(place)
        if claim is not None:
            trial.give_back(claim.shape, trial.facts.index[place.node], claim.gpus)
        return trial

    def shape_of_slot(self, workload: WorkloadKey, generation: int, slot: int) -> Shape:
        """The same for one slot, which may be held to a node by its data: then it is a new one."""
        shape = self.shape(workload, generation)
        pins = pins_of(self._state, workload, generation, slot)
        return replace(shape, pins=pins) if pins else shape

    def shape(self, workload: WorkloadKey, generation: int) -> Shape:
        """Of one generation of a workload. Without a template it is of nothing."""
        shapes = self._shapes.setdefault(workload, {})
        if generation not in shapes:
            shapes[generation] = self._shape(workload, generation)
        return shapes[generation]

    def _shape(self, workload: WorkloadKey, generation: int) -> Shape:
        template = self._state.templates.get(RevisionName(workload, generation))
        desired = self._state.workloads.get(workload)
        return shape_of(
            workload,
            desired.record.spec if desired else None,
            template.record if template else WorkloadTemplate(()),
        )

    def _renew_shapes(self) -> None:
        """Whose claims ask for something else now than when they were counted."""
        changed, self._workloads = self._workloads, set()
        for workload in changed:
            for generation, old in self._shapes.pop(workload, {}).items():
                new = self._shape(workload, generation)
                if not is_alike(old, new):
                    self._places.update(self._state.places_by_workload.get(workload, ()))
                else:
                    self._shapes.setdefault(workload, {})[generation] = old

    def _renew_nodes(self) -> None:
        """A node that has gone from every record takes its claims along."""
        changed, self._nodes = self._nodes, set()
        if not changed:
            return
        facts = dict(self._facts)
        known = self._state
        for name in changed:
            facts.pop(name, None)
            if name in known.reports or name in known.sessions or name in known.desired_nodes:
                facts[name] = node_facts(known, name)
        if facts == self._facts:
            return
        arrived = facts.keys() - self._facts.keys()
        self._facts = facts
        self._snapshot = self._snapshot.with_nodes(facts.values())
        self._held = {place: claim for place, claim in self._held.items() if place.node in facts}
        for name in arrived:
            self._places.update(known.places_by_node.get(name, ()))

    def _renew_claims(self) -> None:
        changed, self._places = self._places, set()
        new: list[tuple[str, Claim]] = []
        for place in changed:
            claim = self._claim(place)
            held = self._held.get(place)
            if claim == held:
                continue
            if held is not None:
                self._snapshot.release(place.node, place.instance)
                del self._held[place]
            if claim is not None and place.node in self._facts:
                new.append((place.node, claim))
                self._held[place] = claim
        self._snapshot.claim_all(new)

    def _claim(self, place: InstancePlace) -> Claim | None:
        """None once it is confirmed not to run: its room is free again."""
        entry = self._state.assignments.get(place)
        if entry is None or status_of(self._state, place).is_finished:
            return None
        record = entry.record
        shape = self.shape(place.instance.workload_key, record.generation)
        return Claim(place.instance, shape, record.gpus, record.wanted is Wanted.STOPPED)

    def _budget(self, workload: WorkloadKey) -> int | None:
        """How many of its running instances may be disrupted now: none while nobody can read how
        many must run."""
        desired = self._state.workloads.get(workload)
        if desired is None:
            return 0 if self._state.keys.workload(workload) in self._state.damaged else None
        if desired.record.spec.min_available is None:
            return None
        places = self._state.places_by_workload.get(workload, ())
        running = sum(1 for place in places if _runs(self._state, place))
        return max(0, running - desired.record.spec.min_available)


def _runs(state: ClusterState, place: InstancePlace) -> bool:
    return status_of(state, place) is WorkloadInstanceStatus.RUNNING


def is_alike(one: Shape, other: Shape) -> bool:
    """Whether they ask for the same. Shapes themselves are equal only if they are the same one."""
    return all(getattr(one, name) == getattr(other, name) for name in Shape.__slots__)


def node_facts(state: ClusterState, name: str) -> NodeFacts:
    node = node_of(state, name, 0.0)
    desired = state.desired_nodes.get(name)
    report = state.reports.get(name)
    allocatable = dict(node.allocatable.quantities())
    count = min(allocatable.pop(GPU, 0) // MILLI, MAX_GPUS)
    devices = report.record.gpus[:MAX_GPUS] if report else ()
    return NodeFacts(
        name=name,
        allocatable=allocatable,
        gpus=devices or ("",) * count,
        labels=node.labels,
        taints=(desired.record if desired else DesiredNode()).taints,
        runtimes=frozenset(node.runtimes),
        images=frozenset(report.record.images if report else ()),
        allowed_binds=node.allowed_binds,
        allows_privileged=node.allows_privileged,
        refusal=_refusal(state, node),
    )


def _refusal(state: ClusterState, node: Node) -> str:
    """In words that do not change as time passes."""
    if node.name not in state.sessions:
        is_lost = is_declared_lost(state, node.name)
        return "has been declared lost" if is_lost else "cannot be reached"
    if not node.is_ready:
        return f"is {node.status.value}: {node.reason}"
    if node.availability is not Availability.ACTIVE:
        return f"is {node.availability.value}"
    return ""
