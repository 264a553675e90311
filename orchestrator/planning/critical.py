"""Which single node can we not lose?

Theory of operation
-------------------
A node's loss is harmless if all that runs there finds another place. To simulate the whole cluster
for each node would take far too long, so three questions are asked in turn, the cheapest first.

*Is there room to spare?* If each of the node's `n` instances fits on `n` other nodes, the others
can spoil at most `n - 1` of them, wherever they go. No more need be known, as long as no
constraint looks beyond a single node.

*Where does the scheduler put them?* It is asked with the node closed, in the order in which
patience ends. As long as nobody else must give way, that is all that would happen.

*What would become of it all?* Only what somebody has to give way for is simulated in full.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.forecast import CriticalNode, Stranded
from orchestrator.model.instance import FenceTerms, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace, RevisionName
from orchestrator.model.views import is_watched, status_of
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from orchestrator.planning.hypotheses import LoseNode, suppose
from orchestrator.planning.loss import believed_nodes, is_mass_loss, why_kept
from orchestrator.planning.pins import why_held
from orchestrator.planning.rehearsal import running_of
from orchestrator.planning.simulation import Brain, Scene, Simulation, settle
from orchestrator.scheduler.feasibility import Field, field_of
from orchestrator.scheduler.protocol import AssignNode, ScheduleDecision, ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Snapshot

LOST = "cannot be reached"


def critical_nodes(scene: Scene, now: float, brain: Brain) -> tuple[CriticalNode, ...]:
    """The nodes whose loss leaves something that runs there, or is displaced, without a node.

    What is under way is taken as done. `scene` is left as it is.
    """
    base = scene.fork()
    made = settle(base, now, brain)
    inquiry = Inquiry(base, made.rehearsal.now, brain)
    found = (inquiry.ask(node) for node in sorted(base.state.sessions))
    return tuple(each for each in found if each)


@dataclass(slots=True)
class Inquiry:
    """Of one settled scene."""

    scene: Scene
    now: float
    brain: Brain
    _fields: dict[Shape, Field] = field(default_factory=dict)
    _believed: frozenset[str] = field(init=False)
    _lost: int = field(init=False)

    def __post_init__(self) -> None:
        self._believed = frozenset(believed_nodes(self.scene.state))
        self._lost = len(self._believed - self.scene.state.sessions.keys())

    def ask(self, node: str) -> CriticalNode | None:
        """None if it can be lost."""
        places = [
            place
            for place in sorted(self.scene.state.places_by_node.get(node, ()))
            if status_of(self.scene.state, place) is WorkloadInstanceStatus.RUNNING
        ]
        stranded = self._stranded(node, places)
        if not stranded:
            return None
        told = tuple(
            Stranded(str(workload), count, reason)
            for workload, (count, reason) in sorted(stranded.items())
        )
        return CriticalNode(node, len(places), told)

    def _stranded(
        self, node: str, places: Sequence[InstancePlace]
    ) -> dict[WorkloadKey, tuple[int, str]]:
        """How many of each workload, and why."""
        if self._would_brake(node):
            return self._simulated(node)
        if not places:
            return {}
        at = self.scene.occupancy.snapshot().facts.index[node]
        stuck = {place: why for place in places if (why := self._why_stuck(place, at))}
        moving = [place for place in places if place not in stuck]
        if moving and not self._has_room_to_spare(at, moving):
            decisions = self._decisions(node, moving)
            if self._is_intricate(decisions):
                return self._simulated(node)
            stuck |= {
                place: each.reason
                for place, each in decisions.items()
                if not isinstance(each, AssignNode)
            }
        return _counted(stuck)

    def _would_brake(self, node: str) -> bool:
        """Whether it would be one lost node too many to be believed."""
        lost = self._lost + (node in self._believed)
        return is_mass_loss(lost, len(self._believed), self.brain.mass_loss_fraction)

    def _spec(self, place: InstancePlace) -> WorkloadDefinition:
        return self.scene.state.workloads[place.instance.workload_key].record.spec

    def _why_stuck(self, place: InstancePlace, at: int) -> str:
        """Why it surely has no other node; empty if it may have one."""
        entry = self.scene.state.workloads[place.instance.workload_key].record
        if kept := why_kept(entry.spec, self._fence(place)):
            return f"{kept}: it is not replaced"
        if RevisionName(entry.spec.key, entry.generation) not in self.scene.state.templates:
            return f"the template of generation {entry.generation} is missing"
        if held := why_held(self.scene.state, place):
            return held
        shape = self._shape(place)
        is_certain = self._is_plain(shape) and not self._may_displace(shape)
        return "no other node takes it" if is_certain and not self._others(shape, at) else ""

    def _fence(self, place: InstancePlace) -> FenceTerms | None:
        state = self.scene.state
        return state.assignments[place].record.fence if is_watched(state, place.node) else None

    def _is_plain(self, shape: Shape) -> bool:
        """Whether only what a node itself holds decides if it takes one."""
        if self.brain.has_filters:
            return False  # nobody knows what they look at
        return all(rule.weight is not None for rule in self._field(shape).rules)

    def _may_displace(self, shape: Shape) -> bool:
        lower = self.scene.occupancy.snapshot().staying[: shape.priority.rank]
        return any(column.any() for columns in lower for column in columns.values())

    def _others(self, shape: Shape, at: int) -> int:
        """How many nodes beside this one would take one now."""
        fits = self._field(shape).fits
        return int(fits.sum()) - int(fits[at])

    def _shape(self, place: InstancePlace) -> Shape:
        workload, slot = place.instance.workload_key, place.instance.slot
        generation = self.scene.state.workloads[workload].record.generation
        return self.scene.occupancy.shape_of_slot(workload, generation, slot)

    def _has_room_to_spare(self, at: int, moving: Sequence[InstancePlace]) -> bool:
        shapes = {self._shape(place) for place in moving}
        return all(
            self._is_plain(shape) and self._others(shape, at) >= len(moving) for shape in shapes
        )

    def _field(self, shape: Shape) -> Field:
        if shape not in self._fields:
            self._fields[shape] = field_of(self.scene.occupancy.snapshot(), shape)
        return self._fields[shape]

    def _decisions(
        self, node: str, moving: Sequence[InstancePlace]
    ) -> dict[InstancePlace, ScheduleDecision]:
        """As the leader would decide: those whose patience ends at the same time go together."""
        trial = self.scene.occupancy.snapshot().closing(node, LOST)
        by_patience: defaultdict[float, list[InstancePlace]] = defaultdict(list)
        for place in moving:
            by_patience[self._spec(place).lost_after_seconds].append(place)
        decisions: dict[InstancePlace, ScheduleDecision] = {}
        for _, places in sorted(by_patience.items()):
            requests = [self._request(place) for place in places]
            made = self.brain.scheduler.schedule(requests, trial)
            decisions |= dict(zip(places, made, strict=True))
            _take(trial, requests, made)
        return decisions

    def _is_intricate(self, decisions: Mapping[InstancePlace, ScheduleDecision]) -> bool:
        """Whether somebody gives way; or might, had what is placed first been there already."""
        placed = [each for each in decisions.values() if isinstance(each, AssignNode)]
        if any(each.victims for each in placed):
            return True
        times = {self._spec(place).lost_after_seconds for place in decisions}
        return len(times) > 1 and len(placed) < len(decisions)

    def _request(self, place: InstancePlace) -> ScheduleRequest:
        workload = place.instance.workload_key
        mates = self.scene.state.places_by_workload[workload]
        failures = Counter(
            node for mate in mates for node in self.scene.state.assignments[mate].record.failed_on
        )
        return ScheduleRequest(place.instance, self._shape(place), failed_on=failures)

    def _simulated(self, node: str) -> dict[WorkloadKey, tuple[int, str]]:
        after = self.scene.fork()
        suppose(after.state, LoseNode(node), self.now)
        made = settle(after, self.now, self.brain)
        return dict(_losses(self.scene.state, made))


def _take(
    trial: Snapshot, requests: Sequence[ScheduleRequest], decisions: Sequence[ScheduleDecision]
) -> None:
    for request, decision in zip(requests, decisions, strict=True):
        if isinstance(decision, AssignNode):
            at = trial.facts.index[decision.node]
            trial.take(request.shape, [at], [decision.gpus])


def _counted(stuck: dict[InstancePlace, str]) -> dict[WorkloadKey, tuple[int, str]]:
    counts = Counter(place.instance.workload_key for place in stuck)
    return {
        place.instance.workload_key: (counts[place.instance.workload_key], why)
        for place, why in stuck.items()
    }


def _losses(
    before: ClusterState, made: Simulation
) -> Iterator[tuple[WorkloadKey, tuple[int, str]]]:
    for workload in sorted(made.touched):
        missing = running_of(before, workload) - running_of(made.scene.state, workload)
        if missing > 0:
            yield workload, (missing, next(iter(made.waiting.get(workload, ())), ""))
