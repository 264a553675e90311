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
    """Ask the node to stop it; the assignment stays until the agent confirms. `displaced_by` names
    the instance that it gives way to."""

    place: InstancePlace
    reason: str
    displaced_by: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the assignment of what is confirmed not to run any more.

    `with_observation`: its node is gone for good, so nobody else will clean up after it.
    `with_move`: people wanted it to leave, and it has left.
    """

    place: InstancePlace
    reason: str
    with_observation: bool = False
    with_move: bool = False


@dataclass(frozen=True, slots=True)
class DropMove:
    """Delete the wish to move an instance that is gone."""

    place: InstancePlace
    reason: str


Action = Place | Stop | Forget | DropMove


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction's worth of one workload: its actions, and the status that results.

    The status is written along with every change of the set of instances: it serialises them,
    and remembers the attempts already used. `status` None: forget the workload altogether.
    `forgotten_image_pins` go with the templates that they are of, or have none any more.
    """

    workload: WorkloadKey
    actions: tuple[Action, ...] = ()
    status: WorkloadStatus | None = None
    forgotten_revisions: tuple[RevisionName, ...] = ()
    forgotten_image_pins: tuple[RevisionName, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now. Without any changes everything is as it should be, or waits.

    `changes` of different workloads are independent; those of each tuple in `together` are one
    transaction, of which none happens without the others. They come after `changes`, in order.

    `wake_at` says for each workload when time alone will change the answer (this process's
    monotonic seconds). `unplaced` are those that wait for room on some node,
    in order. Of those in `capped` more is to be done than one plan does.
    """

    changes: tuple[Change, ...] = ()
    together: tuple[tuple[Change, ...], ...] = ()
    waiting: dict[WorkloadKey, tuple[str, ...]] = field(default_factory=dict)
    wake_at: dict[WorkloadKey, float] = field(default_factory=dict)
    unplaced: tuple[WorkloadKey, ...] = ()
    capped: tuple[WorkloadKey, ...] = ()
