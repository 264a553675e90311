"""Data that stay on their node, and so hold the instances of their slot to it."""

from __future__ import annotations

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.keys import InstancePlace, RevisionName
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.protocol import Pin


def pins_of(
    state: ClusterState, workload: WorkloadKey, generation: int, slot: int
) -> tuple[Pin, ...]:
    """Where the local volumes are that instances of that generation have in that slot. Those on
    nodes that have been removed are lost."""
    template = state.templates.get(RevisionName(workload, generation))
    named = template.record.local_volumes() if template else ()
    if not named:
        return ()
    return tuple(
        Pin(str(place.volume), place.node)
        for place in state.volumes_of(workload, slot)
        if place.volume.volume in named and _is_known(state, place.node)
    )


def _is_known(state: ClusterState, node: str) -> bool:
    return node in state.reports or node in state.sessions or node in state.desired_nodes


def why_held(state: ClusterState, place: InstancePlace) -> str:
    """Why the slot of the instance at `place` cannot have another node; empty if it can."""
    entry = state.assignments[place]
    workload, slot = place.instance.workload_key, place.instance.slot
    desired = state.workloads.get(workload)
    generation = desired.record.generation if desired else entry.record.generation
    pins = pins_of(state, workload, generation, slot)
    names = [pin.volume for pin in pins if pin.node == place.node]
    if not names:
        return ""
    are = f"volume {names[0]} is" if len(names) == 1 else f"volumes {' and '.join(names)} are"
    return f"its {are} on {place.node}"
