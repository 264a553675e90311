"""Raw states, classified once: from here on the planners speak of conditions only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Assignment, ExitCause, InstanceObservation, Wanted
from orchestrator.model.instance import WorkloadInstanceStatus as Status
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import (
    is_declared_lost,
    is_watched,
    observation_of,
    unreachable_seconds,
)
from orchestrator.model.workload import WorkloadKey


class Condition(Enum):
    """From the one we miss least to the one we would miss most."""

    STOPPED = "confirmed not to run, and not wanted to"
    STOPPING = "not wanted any more; its node has not confirmed yet"
    FINISHED = "wanted, but it has ended"
    UNREACHABLE = "its node's session is gone, so nobody knows"
    STARTING = "assigned; not reported running yet"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Member:
    """One assigned instance as the planners see it.

    `ended_at`: when this process first saw that it had ended. `unreachable_since`: since when
    it has seen no session of the node. Both on its own monotonic clock. `is_watched`: its node has
    said that a watchdog is at work there.
    """

    place: InstancePlace
    assignment: Assignment
    create_revision: int
    condition: Condition
    observation: InstanceObservation | None = None
    ended_at: float = 0.0
    unreachable_since: float | None = None
    is_node_gone: bool = False
    is_declared_lost: bool = False
    is_watched: bool = False

    @property
    def slot(self) -> int:
        return self.place.instance.slot

    @property
    def attempt(self) -> int:
        return self.place.instance.attempt

    @property
    def name(self) -> str:
        return str(self.place.instance)

    @property
    def is_wanted(self) -> bool:
        return self.assignment.wanted is Wanted.RUNNING

    @property
    def is_failed(self) -> bool:
        """Ended by itself, and not by its node: shut down in good order, or cut off for long."""
        return self.condition is Condition.FINISHED and not self.cause.is_nodes

    @property
    def cause(self) -> ExitCause:
        return self.observation.cause if self.observation else ExitCause.NONE


def members_of(state: ClusterState, workload: WorkloadKey, now: float) -> list[Member]:
    """A workload's assigned instances, by slot and attempt."""
    return [_member(state, place, now) for place in state.places_of(workload)]


def _member(state: ClusterState, place: InstancePlace, now: float) -> Member:
    entry = state.assignments[place]
    observation = observation_of(state, place)
    silent = unreachable_seconds(state, place.node, now)
    return Member(
        place=place,
        assignment=entry.record,
        create_revision=entry.create_revision,
        condition=_condition(entry.record, observation, is_reachable=silent is None),
        observation=observation,
        ended_at=state.observations[place].seen_at if observation else 0.0,
        unreachable_since=None if silent is None else now - silent,
        is_node_gone=silent is not None and place.node not in state.reports,
        is_declared_lost=is_declared_lost(state, place.node),
        is_watched=is_watched(state, place.node),
    )


def _condition(
    assignment: Assignment, observation: InstanceObservation | None, *, is_reachable: bool
) -> Condition:
    has_ended = observation is not None and observation.status.is_finished
    if assignment.wanted is Wanted.STOPPED:
        return Condition.STOPPED if has_ended else Condition.STOPPING
    if has_ended:
        return Condition.FINISHED
    if not is_reachable:
        return Condition.UNREACHABLE
    is_running = observation is not None and observation.status is Status.RUNNING
    return Condition.RUNNING if is_running else Condition.STARTING
