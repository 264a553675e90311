"""What asks for more of the store, and so must wait while there is little room in it. Pure."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.api.errors import NoRoom
from orchestrator.api.intents import Intent, refused
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from store.transactions import Check


def unless_it_grows(
    intent: Intent, state: ClusterState, wanted: WorkloadDefinition | None, why_not: str
) -> Intent:
    """`intent`, or its refusal when it asks for more than there is now and `why_not` is said."""
    if not why_not or intent.happening is None or wanted is None:
        return intent
    if not asks_for_more(state, wanted):
        return intent
    checks = (Check(each.key, each.base) for each in intent.mutations)
    return refused(NoRoom(f"nothing was changed: {why_not}"), *checks)


def asks_for_more(state: ClusterState, wanted: WorkloadDefinition) -> bool:
    """A new workload, another template, or more replicas."""
    entry = state.workloads.get(wanted.key)
    if entry is None:
        return True
    present = entry.record.spec
    return wanted.replicas > present.replicas or replace(wanted, replicas=0) != replace(
        present, replicas=0
    )


def scaled(state: ClusterState, key: WorkloadKey, replicas: int) -> WorkloadDefinition | None:
    """What scaling would make of the workload; None if there is none."""
    entry = state.workloads.get(key)
    return replace(entry.record.spec, replicas=replicas) if entry else None
