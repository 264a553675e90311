"""What a plan is made of: values that say what to change, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.model.instance import Assignment
from orchestrator.model.keys import InstancePlace, RevisionName
from orchestrator.model.workload import WorkloadKey, WorkloadStatus


@dataclass(frozen=True, slots=True)
class Place:
    """Create the assignment: `place.node` shall run this attempt."""

    place: InstancePlace
    assignment: Assignment

    @property
    def reason(self) -> str:
        return self.assignment.reason


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the node to stop it; the assignment stays until the agent confirms."""

    place: InstancePlace
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the assignment of what is confirmed not to run any more.

    `with_observation`: its node is gone for good, so nobody else will clean up after it.
    """

    place: InstancePlace
    reason: str
    with_observation: bool = False


Action = Place | Stop | Forget


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction's worth of one workload: its actions, and the status that results.

    The status is written along with every change of the set of instances: it serialises them,
    and remembers the attempts already used. `status` None: forget the workload altogether.
    """

    workload: WorkloadKey
    actions: tuple[Action, ...] = ()
    status: WorkloadStatus | None = None
    forgotten_revisions: tuple[RevisionName, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. Empty `changes` mean that everything is as it should be, or waits.

    `wake_at` says for each workload when time alone will change the answer (this process's
    monotonic seconds). `unplaced` are those that wait for room on some node,
    in order.
    """

    changes: tuple[Change, ...] = ()
    waiting: dict[WorkloadKey, tuple[str, ...]] = field(default_factory=dict)
    wake_at: dict[WorkloadKey, float] = field(default_factory=dict)
    unplaced: tuple[WorkloadKey, ...] = ()
