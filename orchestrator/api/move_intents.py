"""Have an instance moved, or not after all: what each comes to in the present state. Pure."""

from __future__ import annotations

from orchestrator.api.intents import (
    ANYTHING,
    HEALED,
    Happening,
    Intent,
    Precondition,
    base_of,
    precondition_failed,
    refused,
)
from orchestrator.model.answers import Outcome
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName, Move
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.model.records import dump
from store.transactions import Check, Delete, Put


def move_instance(
    state: ClusterState,
    place: InstancePlace,
    move: Move,
    assignment: int,
    precondition: Precondition = ANYTHING,
) -> Intent:
    """Ask for the move that was decided when the instance's assignment was at `assignment`."""
    row, entry = state.keys.move(place), state.moves.get(place)
    base = base_of(state, row, entry)
    key = state.keys.assignment(place)
    assigned = Check(key, base_of(state, key, state.assignments.get(place)))
    name = place.instance
    if place not in state.assignments or assigned.base != assignment:
        error = StateError(
            f"{name} has changed since the move was planned, or has left {place.node}: look again"
        )
        return refused(error, assigned)
    if broken := precondition.broken(base):
        return precondition_failed(f"the move of {name}", broken, Check(row, base))
    if entry and entry.record.to == move.to and row not in state.damaged:
        return Intent((Check(row, base), assigned), Outcome.UNCHANGED, base)
    healed = (HEALED,) if row in state.damaged else ()
    told = f"{place.node} -> {move.to}: {move.reason}"
    changes = (*healed, told)
    put = Put(row, dump(move), base)
    happening = Happening("InstanceToMove", str(name), told, name.namespace)
    outcome = Outcome.CONFIGURED if base else Outcome.CREATED
    return Intent((put, assigned), outcome, base, 0, changes, happening)


def stay(state: ClusterState, name: InstanceName, precondition: Precondition = ANYTHING) -> Intent:
    """Take the wish back. What has been stopped for it by then is not started again."""
    found = sorted(_places(state, name))
    if not found:
        places = state.find_instance(name)
        checks = [Check(state.keys.move(place), 0) for place in places]
        return refused(
            WorkloadNotFound(f"nobody wants {name} to move"), _set_of(state, name), *checks
        )
    place = found[0]
    row = state.keys.move(place)
    base = base_of(state, row, state.moves.get(place))
    if broken := precondition.broken(base):
        return precondition_failed(f"the move of {name}", broken, Check(row, base))
    happening = Happening("InstanceToStay", str(name), "not to be moved after all", name.namespace)
    return Intent((Delete(row, base),), Outcome.DELETED, base, happening=happening)


def _set_of(state: ClusterState, name: InstanceName) -> Check:
    """That the instances of its workload are those that are known: each change of the set of them
    writes the workload's status."""
    row = state.keys.workload_status(name.workload_key)
    return Check(row, base_of(state, row, state.statuses.get(name.workload_key)))


def _places(state: ClusterState, name: InstanceName) -> set[InstancePlace]:
    """Where there is such a wish, readable or not."""
    wished = {place for place in state.moves_of(name.workload_key) if place.instance == name}
    folder = state.keys.folder(Kind.MOVE)
    damaged = [row for row in state.damaged if row.startswith(folder)]
    parsed = (_place_of(state, row) for row in damaged)
    return wished | {place for place in parsed if place and place.instance == name}


def _place_of(state: ClusterState, row: str) -> InstancePlace | None:
    """None for a stranger in our folder."""
    try:
        place = state.keys.parse(row).name
    except StateError:
        return None
    assert isinstance(place, InstancePlace)
    return place
