"""Names that nobody knows, and which were meant."""

from __future__ import annotations

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import NodeNotFound, WorkloadNotFound
from orchestrator.model.near_names import near_name
from orchestrator.model.workload import WorkloadKey


def no_such_node(state: ClusterState, name: str) -> NodeNotFound:
    near = near_name(name, state.node_names())
    advice = f"; did you mean {near!r}?" if near else ": `orc get nodes` lists them"
    return NodeNotFound(f"there is no node {name}{advice}")


def no_such_workload(state: ClusterState, key: WorkloadKey) -> WorkloadNotFound:
    """With how many instances are left of it, if it is deleted already."""
    if count := len(state.places_by_workload.get(key, ())):
        return WorkloadNotFound(
            f"workload {key} is deleted already; {count} of its instances have yet to be stopped"
        )
    return WorkloadNotFound(f"there is no workload {key}")
