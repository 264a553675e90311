"""Apply, scale and delete a workload: what each comes to in the present state. Pure."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.api.differences import differences
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
from orchestrator.model.answers import Outcome
from orchestrator.model.cluster_state import ClusterState, Entry
from orchestrator.model.errors import ConfigError, StateError
from orchestrator.model.keys import RevisionName
from orchestrator.model.missing import no_such_workload
from orchestrator.model.records import dump
from orchestrator.model.rules.workload import MAX_REPLICAS, replica_faults
from orchestrator.model.workload import (
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
    WorkloadTemplate,
)
from store.transactions import Check, Delete, Put

CurrentRow = Entry[DesiredWorkload] | None


def apply_workload(
    state: ClusterState, definition: WorkloadDefinition, precondition: Precondition = ANYTHING
) -> Intent:
    """Make `definition` what is wanted."""
    key = definition.key
    row, entry, base = _row_of(state, key)
    if broken := precondition.broken(base):
        return precondition_failed(f"workload {key}", broken, Check(row, base))
    generation = entry.record.generation if entry else 0
    is_made_of_it = _template(state, key, generation) == definition.template()
    changes = _changes(state, row, entry, definition)
    if entry and is_made_of_it and not changes:
        return Intent((Check(row, base),), Outcome.UNCHANGED, base, generation)
    templates: tuple[Put, ...] = ()
    if not (entry and is_made_of_it):
        unknown = state.unknown_of(state.keys.revision(key, generation))
        generation = 1 + max(generation, _highest_generation(state, key))
        template = dump(definition.template(), unknown)
        templates = (Put(state.keys.revision(key, generation), template, 0),)
    desired = DesiredWorkload(definition, generation)
    put = Put(row, dump(desired, state.unknown_of(row)), base)
    if base and not changes:
        changes = (f"generation {generation}: it had not been made from this template",)
    happening = _applied(definition, generation, changes, is_new=not base)
    outcome = Outcome.CONFIGURED if base else Outcome.CREATED
    return Intent((*templates, put), outcome, base, generation, changes, happening)


def scale_workload(
    state: ClusterState, key: WorkloadKey, replicas: int, precondition: Precondition = ANYTHING
) -> Intent:
    """Change how many replicas are wanted. Raises `ConfigError` for a number out of bounds."""
    if not 0 <= replicas <= MAX_REPLICAS:
        raise ConfigError(f"replicas is {replicas}: it must be 0 to {MAX_REPLICAS}")
    row, entry, base = _row_of(state, key)
    if broken := precondition.broken(base):
        return precondition_failed(f"workload {key}", broken, Check(row, base))
    if entry is None:
        return refused(_unreadable(key) if base else no_such_workload(state, key), Check(row, base))
    spec = replace(entry.record.spec, replicas=replicas)
    if fault := next(replica_faults(spec), None):
        return refused(ConfigError(fault.sentence), Check(row, base))
    generation = entry.record.generation
    changes = _changes(state, row, entry, spec)
    if not changes:
        return Intent((Check(row, base),), Outcome.UNCHANGED, base, generation)
    put = Put(row, dump(DesiredWorkload(spec, generation), state.unknown_of(row)), base)
    happening = Happening("WorkloadScaled", str(key), told(changes), key.namespace)
    return Intent((put,), Outcome.CONFIGURED, base, generation, changes, happening)


def delete_workload(
    state: ClusterState, key: WorkloadKey, precondition: Precondition = ANYTHING
) -> Intent:
    """Delete what is wanted, and nothing else: the leader then stops the instances, waits for
    their end to be confirmed, and forgets the workload."""
    row, entry, base = _row_of(state, key)
    if broken := precondition.broken(base):
        return precondition_failed(f"workload {key}", broken, Check(row, base))
    if not base:
        return refused(no_such_workload(state, key), Check(row, base))
    count = len(state.places_by_workload.get(key, ()))
    reason = f"deleted by request, with {count} instances to stop"
    happening = Happening("WorkloadDeleted", str(key), reason, key.namespace)
    generation = entry.record.generation if entry else 0
    return Intent((Delete(row, base),), Outcome.DELETED, base, generation, (), happening)


def _applied(
    definition: WorkloadDefinition, generation: int, changes: tuple[str, ...], *, is_new: bool
) -> Happening:
    key = definition.key
    if is_new:
        reason = f"applied: {definition.replicas} replicas of generation {generation}"
        return Happening("WorkloadCreated", str(key), reason, key.namespace)
    return Happening("WorkloadConfigured", str(key), told(changes), key.namespace)


def _row_of(state: ClusterState, key: WorkloadKey) -> tuple[str, CurrentRow, int]:
    row, entry = state.keys.workload(key), state.workloads.get(key)
    return row, entry, base_of(state, row, entry)


def _changes(
    state: ClusterState, row: str, entry: CurrentRow, definition: WorkloadDefinition
) -> tuple[str, ...]:
    healed = (HEALED,) if row in state.damaged else ()
    return healed + (differences(entry.record.spec, definition) if entry else ())


def _template(state: ClusterState, key: WorkloadKey, generation: int) -> WorkloadTemplate | None:
    """None if it is not there, or was damaged: what cannot be read can make no instance."""
    entry = state.templates.get(RevisionName(key, generation))
    is_readable = state.keys.revision(key, generation) not in state.damaged
    return entry.record if entry and is_readable else None


def _highest_generation(state: ClusterState, key: WorkloadKey) -> int:
    """Of all revisions that are still there: from an earlier life of that name, or damaged; and of
    image pins, which must not be taken for those of another template."""
    prefix = state.keys.revisions(key)
    damaged = [row[len(prefix) :] for row in state.damaged if row.startswith(prefix)]
    return max(
        (
            *(name.generation for name in state.revisions_of(key)),
            *(name.generation for name in state.image_pins_of(key)),
            *(int(text) for text in damaged if text.isascii() and text.isdecimal()),
        ),
        default=0,
    )


def _unreadable(key: WorkloadKey) -> StateError:
    return StateError(f"the record of workload {key} cannot be read: apply its manifest anew")
