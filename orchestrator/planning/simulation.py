"""`settle`: the very planner on a copy of the state, until nothing is left to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.model.actions import Plan
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.loss import MASS_LOSS_FRACTION
from orchestrator.planning.occupancy import Occupancy
from orchestrator.planning.plan import plan
from orchestrator.planning.rehearsal import Rehearsal, unsettled
from orchestrator.scheduler.protocol import Scheduler

MAX_WORK = 500_000
"""Instances looked at by plans, in all: about five seconds. A rollout of a thousand instances, one
at a time, would take a hundred times as much, and change nothing of what is foreseen."""


@dataclass(frozen=True, slots=True)
class Brain:
    """What decides. `has_filters`: the scheduler has plug-ins, which may look at anything."""

    scheduler: Scheduler
    has_filters: bool = False
    mass_loss_fraction: float = MASS_LOSS_FRACTION


@dataclass(frozen=True, slots=True)
class Scene:
    """A state, and the occupancy that follows it."""

    state: ClusterState
    occupancy: Occupancy

    @classmethod
    def of(cls, state: ClusterState) -> Scene:
        return cls(state, Occupancy(state))

    def fork(self) -> Scene:
        """One to change."""
        copy = self.state.copy()
        return Scene(copy, self.occupancy.fork(copy))


@dataclass(slots=True)
class Simulation:
    """What has become of a scene. `waiting` is what the last plans said of each workload, and
    `touched` are those of which something has changed, or might have."""

    scene: Scene
    rehearsal: Rehearsal
    waiting: dict[WorkloadKey, tuple[str, ...]] = field(default_factory=dict)
    touched: set[WorkloadKey] = field(default_factory=set)
    is_settled: bool = False


def settle(scene: Scene, now: float, brain: Brain) -> Simulation:
    """Change the scene into what it would become."""
    state = scene.state
    rehearsal = Rehearsal(state, now)
    made = Simulation(scene, rehearsal)
    due = unsettled(state)
    made.touched |= due
    rehearsal.watch(due)
    rehearsal.begin()
    work = 0
    while work < MAX_WORK:
        planned = plan(
            state,
            rehearsal.now,
            brain.scheduler,
            scope=due,
            occupancy=scene.occupancy,
            mass_loss_fraction=brain.mass_loss_fraction,
        )
        work += sum(1 + len(state.places_by_workload.get(key, ())) for key in due)
        due = _take_turns(made, planned, due)
        if not due:
            made.is_settled = True
            break
    return made


def _take_turns(made: Simulation, planned: Plan, due: set[WorkloadKey]) -> set[WorkloadKey]:
    """Carry the plan out; the workloads to be planned next. Empty when all is done."""
    rehearsal = made.rehearsal
    for key in due:
        made.waiting.pop(key, None)
    made.waiting.update(planned.waiting)
    rehearsal.commit(planned)
    rehearsal.work()
    changed = rehearsal.changed()
    made.touched |= changed
    if changed:
        return changed | made.waiting.keys()
    if not planned.wake_at:
        return set()
    rehearsal.now = max(rehearsal.now, min(planned.wake_at.values()))
    return set(made.waiting)
