"""Change or remove a node: what each comes to in the present state of the cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from orchestrator.api.bodies import NodePatch
from orchestrator.api.intents import (
    ANYTHING,
    HEALED,
    Happening,
    Intent,
    Precondition,
    base_of,
    precondition_failed,
    refused,
    told,
)
from orchestrator.api.taints import patched_taints, taint_changes, unfit_taints
from orchestrator.model.answers import Outcome
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import ConfigError, StateError
from orchestrator.model.missing import no_such_node
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.records import dump
from orchestrator.model.rules.faults import Fault, too_many, unfit_labels
from orchestrator.model.views import is_declared_lost
from store.transactions import Check, Delete, Put

MAX_VOLUMES_AT_ONCE = 100
LAPSED = "no longer declared lost: its agent has come back since"


def change_node(
    state: ClusterState, name: str, patch: NodePatch, precondition: Precondition = ANYTHING
) -> Intent:
    """Change what is said of a node. That it is lost is said only while it has no session, and a
    word that no longer holds is taken away, not given anew.

    Raises `ConfigError` for labels and taints that break the rules.
    """
    if faults := list(_faults(patch)):
        raise _unfit(faults)
    desired, report, session = _rows_of(state, name)
    if not (desired.base or report.base or session.base):
        return refused(no_such_node(state, name), desired, report, session)
    if broken := precondition.broken(desired.base):
        return precondition_failed(f"node {name}", broken, desired)
    if patch.is_declared_lost and session.base:
        return _alive(name, "stop its agent first, or cordon the node instead", session)
    entry = state.desired_nodes.get(name)
    stored = entry.record if entry else DesiredNode()
    old = replace(stored, is_declared_lost=is_declared_lost(state, name) and not session.base)
    new = _patched(old, patch)
    if overfull := list(too_many(("taints",), new.taints)):
        return refused(_unfit(overfull), desired)
    healed = (HEALED,) if desired.key in state.damaged else ()
    has_lapsed = stored.is_declared_lost and not (old.is_declared_lost or new.is_declared_lost)
    changes = healed + ((LAPSED,) if has_lapsed else ()) + _changes(old, new)
    guards = (report, session) if new.is_declared_lost else ()
    if not changes:
        return Intent((desired, *guards), Outcome.UNCHANGED, desired.base)
    put = Put(desired.key, dump(new, state.unknown_of(desired.key)), desired.base)
    happening = Happening(_event_kind(old, new), name, told(changes))
    return Intent((put, *guards), Outcome.CONFIGURED, desired.base, 0, changes, happening)


def _faults(patch: NodePatch) -> Iterator[Fault]:
    new_labels = {label: value for label, value in patch.labels.items() if value is not None}
    yield from unfit_labels(("labels",), new_labels)
    yield from unfit_taints(patch)


def _unfit(faults: Iterable[Fault]) -> ConfigError:
    return ConfigError("; ".join(fault.sentence for fault in faults))


def remove_node(state: ClusterState, name: str, precondition: Precondition = ANYTHING) -> Intent:
    """Forget a node whose agent is gone, and the data on it; the leader then forgets what is
    assigned to it. Volumes that one transaction does not hold are left to whoever takes the name:
    data on a node that is not there hold nobody."""
    desired, report, session = _rows_of(state, name)
    if session.base:
        return _alive(name, "stop its agent first, then delete it", session)
    if not (desired.base or report.base):
        return refused(no_such_node(state, name), desired, report, session)
    if broken := precondition.broken(desired.base):
        return precondition_failed(f"node {name}", broken, desired)
    volumes = state.volumes_on(name)
    deletes = [Delete(row.key, row.base) for row in (desired, report) if row.base]
    deletes += [
        Delete(state.keys.volume(each), state.volumes[each].mod_revision)
        for each in volumes[:MAX_VOLUMES_AT_ONCE]
    ]
    count = len(state.places_by_node.get(name, ()))
    data = f" and the data of {len(volumes)} volumes" if volumes else ""
    reason = f"removed by request, with {count} instances{data} on it"
    happening = Happening("NodeRemoved", name, reason)
    return Intent((*deletes, session), Outcome.DELETED, desired.base, happening=happening)


def _rows_of(state: ClusterState, name: str) -> tuple[Check, Check, Check]:
    """What people say, what the agent says, and its session, each as it is now."""
    rows = (
        (state.keys.desired_node(name), state.desired_nodes.get(name)),
        (state.keys.node_report(name), state.reports.get(name)),
        (state.keys.session(name), state.sessions.get(name)),
    )
    desired, report, session = (Check(row, base_of(state, row, entry)) for row, entry in rows)
    return desired, report, session


def _patched(old: DesiredNode, patch: NodePatch) -> DesiredNode:
    labels = {**old.labels, **patch.labels}
    is_lost = old.is_declared_lost if patch.is_declared_lost is None else patch.is_declared_lost
    return DesiredNode(
        availability=Availability(patch.availability or old.availability),
        labels={name: value for name, value in labels.items() if value is not None},
        is_declared_lost=is_lost,
        taints=patched_taints(old.taints, patch),
    )


def _changes(old: DesiredNode, new: DesiredNode) -> tuple[str, ...]:
    changes = []
    if old.availability is not new.availability:
        changes.append(f"availability: {old.availability} -> {new.availability}")
    if old.is_declared_lost is not new.is_declared_lost:
        changes.append("declared lost" if new.is_declared_lost else "no longer declared lost")
    for name in sorted({*old.labels, *new.labels}):
        before, after = old.labels.get(name), new.labels.get(name)
        if before != after:
            changes.append(f"labels.{name}: {_shown(before)} -> {_shown(after)}")
    return (*changes, *taint_changes(old.taints, new.taints))


def _shown(label: str | None) -> str:
    return "none" if label is None else repr(label)


def _event_kind(old: DesiredNode, new: DesiredNode) -> str:
    if new.is_declared_lost and not old.is_declared_lost:
        return "NodeDeclaredLost"
    if old.availability is not new.availability:
        return _EVENTS[new.availability]
    return "NodeConfigured"


_EVENTS = {
    Availability.ACTIVE: "NodeUncordoned",
    Availability.CORDONED: "NodeCordoned",
    Availability.DRAINING: "NodeDraining",
}


def _alive(name: str, advice: str, session: Check) -> Intent:
    return refused(
        StateError(f"node {name} is alive, its agent holds a session: {advice}"), session
    )
