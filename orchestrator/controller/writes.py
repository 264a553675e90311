"""From a plan's change to guarded mutations. Pure but for the event rows, which are given.

Every change carries two guards of its own beside the leader's epoch: the workload's status (all
changes of one workload's set of instances go one after the other), and the desired workload
that the plan was made from (what a person has just changed or deleted is not acted on).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.model.actions import Action, Change, DropMove, Forget, Place, Stop
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.records import dump
from store.transactions import Check, Delete, Mutation, Put


@dataclass(frozen=True, slots=True)
class Story:
    """An event to be told: one for each kind of action in a change, not one per instance."""

    kind: str
    subject: str
    reason: str
    namespace: str


def mutations_of(change: Change, state: ClusterState) -> tuple[Mutation, ...]:
    """`state` must still be the one that was planned from: its revisions are the guards."""
    keys = state.keys
    mutations = [each for action in change.actions for each in _of_action(action, state)]
    desired = state.workloads.get(change.workload)
    mutations.append(Check(keys.workload(change.workload), desired.mod_revision if desired else 0))
    status_key = keys.workload_status(change.workload)
    known = state.statuses.get(change.workload)
    base = known.mod_revision if known else _damaged(state, status_key)
    if change.status is not None:
        status = dump(change.status, state.unknown_of(status_key))
        mutations.append(Put(status_key, status, base))
    elif base:
        mutations.append(Delete(status_key, base))
    for name in change.forgotten_revisions:
        entry = state.templates[name]
        key = keys.revision(name.workload, name.generation)
        mutations.append(Delete(key, entry.mod_revision))
    for name in change.forgotten_image_pins:
        key = keys.image_pins(name.workload, name.generation)
        mutations.append(Delete(key, state.image_pins[name].mod_revision))
    return tuple(mutations)


def following(mutations: Iterable[Mutation], written: Mapping[str, int]) -> tuple[Mutation, ...]:
    """The same, after what this very plan has already `written`, by key and revision: the later
    parts of a workload's changes build on its status as the earlier ones have left it."""
    return tuple(
        replace(each, base=written[each.key]) if each.key in written else each for each in mutations
    )


def _of_action(action: Action, state: ClusterState) -> list[Mutation]:
    key = state.keys.assignment(action.place)
    if isinstance(action, Place):
        return [Put(key, dump(action.assignment), _damaged(state, key))]
    move = state.keys.move(action.place)
    if isinstance(action, DropMove):
        return [Delete(move, state.moves[action.place].mod_revision)]
    entry = state.assignments[action.place]
    if isinstance(action, Stop):
        stopped = replace(
            entry.record,
            wanted=Wanted.STOPPED,
            reason=action.reason,
            displaced_by=action.displaced_by,
        )
        return [Put(key, dump(stopped, state.unknown_of(key)), entry.mod_revision)]
    deletes: list[Mutation] = [Delete(key, entry.mod_revision)]
    observation = state.observations.get(action.place)
    if action.with_observation and observation:
        deletes.append(Delete(state.keys.observation(action.place), observation.mod_revision))
    if action.with_move:
        deletes.append(Delete(move, state.moves[action.place].mod_revision))
    return deletes


def _damaged(state: ClusterState, key: str) -> int:
    """The base of a record that we create: 0, or the revision of unreadable bytes in its place."""
    damage = state.damaged.get(key)
    return damage.mod_revision if damage else 0


def stories_of(change: Change) -> list[Story]:
    """What people are told of a change, in the plan's own words."""
    stories = []
    for kind, action_type in (
        ("InstancesPlaced", Place),
        ("InstancesStopping", Stop),
        ("InstancesForgotten", Forget),
        ("MovesDropped", DropMove),
    ):
        actions = [action for action in change.actions if isinstance(action, action_type)]
        if actions:
            stories.append(_story(kind, change, actions))
    if change.status is None:
        name = str(change.workload)
        stories.append(
            Story("WorkloadForgotten", name, "nothing of it is left", change.workload.namespace)
        )
    return stories


MAX_NAMED = 5


def _story(kind: str, change: Change, actions: list[Action]) -> Story:
    parts = [f"{_told(action.place, kind)}: {action.reason}" for action in actions[:MAX_NAMED]]
    if len(actions) > MAX_NAMED:
        parts.append(f"and {len(actions) - MAX_NAMED} more")
    is_one = len(actions) == 1
    subject = str(actions[0].place.instance) if is_one else str(change.workload)
    return Story(kind, subject, " | ".join(parts), change.workload.namespace)


def _told(place: InstancePlace, kind: str) -> str:
    return f"{place.instance} on {place.node}" if kind == "InstancesPlaced" else str(place.instance)
