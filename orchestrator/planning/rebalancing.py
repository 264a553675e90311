"""Moves that even out the load of the nodes: after some have joined or come back.

Theory of operation
-------------------
From the fullest node, the instance is moved whose going to the emptiest node that takes it leaves
the fuller of the two least full; then the next. Should nothing help the fullest node, the next
fuller ones may fill the emptiest. Each move makes the fuller of its two nodes less full than it
was, and neither of them the emptiest: no two undo each other, none widens the gap between the
fullest and the emptiest, and there is an end.

What is moved stops first, and so only what can bear that is moved: what runs, of workloads that
all run, never a member of a gang, nor what must not run twice, nor what is packed by its own will,
nor what has data on its node. Of each workload no more go than its budget allows at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import ConfigError
from orchestrator.model.instance import InstanceName, WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.moves import PlannedMove, Rebalance
from orchestrator.model.placement import Strategy
from orchestrator.model.views import status_of
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition, WorkloadKey
from orchestrator.planning.loads import imbalance, node_loads
from orchestrator.planning.pins import why_held
from orchestrator.planning.rehearsal import running_of
from orchestrator.planning.simulation import Scene
from orchestrator.scheduler.facts import Mask
from orchestrator.scheduler.feasibility import feasible
from orchestrator.scheduler.protocol import AssignNode, Scheduler, ScheduleRequest, Shape
from orchestrator.scheduler.snapshot import Claim, Snapshot

MAX_MOVES = 1000
MAX_LOOKS = 20_000
"""Instances for which all nodes are asked, before what has been found must do."""

WITHOUT_BUDGET = 4
"""One in so many of a workload's replicas may be moved by one plan, if it names no minimum."""


def plan_rebalance(scene: Scene, scheduler: Scheduler, target: int, max_moves: int) -> Rebalance:
    """At most `max_moves` moves that bring the imbalance down to `target` thousandths, or near it;
    `scene` is left as it is. Raises `ConfigError` for numbers out of bounds."""
    if not 0 <= target <= 1000:
        raise ConfigError(f"the target is {target / 10:g} %: it must be 0 to 100")
    if not 1 <= max_moves <= MAX_MOVES:
        raise ConfigError(f"max_moves is {max_moves}: it must be 1 to {MAX_MOVES}")
    balancing = _Balancing(scene, scheduler, scene.occupancy.snapshot().copy())
    before = imbalance(balancing.trial)
    moves: list[PlannedMove] = []
    while len(moves) < max_moves and imbalance(balancing.trial) > target:
        move = balancing.next_move()
        if move is None:
            break
        moves.append(move)
    return Rebalance(before, imbalance(balancing.trial), target, tuple(moves))


@dataclass(frozen=True, slots=True)
class _Step:
    """`fuller` is the load of the fuller of the two nodes afterwards."""

    fuller: int
    goal: int
    claim: Claim
    source: int


@dataclass(slots=True)
class _Balancing:
    """`trial` has the moves so far. Who is in `decided` has been moved, or cannot be; `quota` is
    how many more of a workload may go."""

    scene: Scene
    scheduler: Scheduler
    trial: Snapshot
    decided: set[InstanceName] = field(default_factory=set)
    quota: dict[WorkloadKey, int] = field(default_factory=dict)
    looks: int = 0

    def next_move(self) -> PlannedMove | None:
        """None if no move helps."""
        is_open = self.trial.facts.is_open
        loads = node_loads(self.trial)
        highest, lowest = int(loads[is_open].max()), int(loads[is_open].min())
        fuller = is_open & (loads > lowest)
        for source in [at for at in np.argsort(-loads, kind="stable").tolist() if fuller[at]]:
            if self.looks > MAX_LOOKS:
                break
            limit = loads[source] if loads[source] == highest else lowest + 1
            steps = self._steps(source, is_open & (loads < limit), lowest)
            for step in sorted(steps, key=lambda each: (each.fuller, each.claim.instance)):
                if move := self._take(step, int(loads[source]), int(loads[step.goal])):
                    return move
        return None

    def _steps(self, source: int, goals: Mask, lowest: int) -> Iterator[_Step]:
        """What each instance of the node could do for it: those of one shape do the same."""
        alike: dict[tuple[Shape, tuple[int, ...]], tuple[int, int] | None] = {}
        node = self.trial.facts.names[source]
        for name, claim in self.trial.claims[source].items():
            if name in self.decided or not self._may_move(InstancePlace(node, name), claim):
                continue
            kind = (claim.shape, claim.gpus)
            if kind not in alike:
                alike[kind] = self._best_goal(claim, source, goals, lowest)
            if (found := alike[kind]) is not None:
                yield _Step(*found, claim, source)

    def _best_goal(
        self, claim: Claim, source: int, goals: Mask, lowest: int
    ) -> tuple[int, int] | None:
        """How full the fuller of the two would be, and the node that makes that least. Its own node
        must not become the emptiest of all."""
        self.looks += 1
        before = int(node_loads(self.trial, [source])[0])
        self.trial.give_back(claim.shape, source, claim.gpus)
        fits = feasible(self.trial, claim.shape) & goals
        loads = node_loads(self.trial, plus=claim.shape)
        left = int(node_loads(self.trial, [source])[0])
        after = np.maximum(loads, left)
        self.trial.take(claim.shape, [source], [claim.gpus])
        fits &= after < before
        if left < lowest or not fits.any():
            return None
        goal = int(np.lexsort((loads, after, ~fits))[0])
        return int(after[goal]), goal

    def _take(self, step: _Step, source_load: int, goal_load: int) -> PlannedMove | None:
        """None if the scheduler would not put it there, be it for a plug-in."""
        claim, trial = step.claim, self.trial
        source, goal = (trial.facts.names[at] for at in (step.source, step.goal))
        self.decided.add(claim.instance)
        trial.give_back(claim.shape, step.source, claim.gpus)
        request = ScheduleRequest(claim.instance, claim.shape, prefer=goal, may_displace=False)
        [decision] = self.scheduler.schedule([request], trial)
        if not isinstance(decision, AssignNode) or decision.node != goal:
            trial.take(claim.shape, [step.source], [claim.gpus])
            return None
        trial.take(claim.shape, [step.goal], [decision.gpus])
        self.quota[claim.shape.workload] -= 1
        place = InstancePlace(source, claim.instance)
        return PlannedMove(
            str(claim.instance),
            source,
            goal,
            f"{source} is {source_load / 10:g} % full, {goal} {goal_load / 10:g} %",
            self.scene.state.assignments[place].mod_revision,
        )

    def _may_move(self, place: InstancePlace, claim: Claim) -> bool:
        state, workload = self.scene.state, claim.shape.workload
        desired = state.workloads.get(workload)
        if desired is None or claim.is_leaving or place in state.moves:
            return False
        spec = desired.record.spec
        is_at_most_once = spec.on_node_lost is not OnNodeLost.REPLACE
        if spec.gang or is_at_most_once or why_held(state, place):
            return False
        is_current = state.assignments[place].record.generation == desired.record.generation
        runs = status_of(state, place) is WorkloadInstanceStatus.RUNNING
        is_packed = spec.placement.strategy is Strategy.PACK
        return runs and is_current and not is_packed and self._quota(spec) > 0

    def _quota(self, spec: WorkloadDefinition) -> int:
        if spec.key not in self.quota:
            self.quota[spec.key] = _movable(self.scene.state, spec)
        return self.quota[spec.key]


def _movable(state: ClusterState, spec: WorkloadDefinition) -> int:
    """How many of a workload one plan may move; none while it is short of any, or on the move."""
    running = running_of(state, spec.key)
    if running < spec.replicas or state.moves_of(spec.key):
        return 0
    if spec.min_available is not None:
        return running - spec.min_available
    return max(1, spec.replicas // WITHOUT_BUDGET)
