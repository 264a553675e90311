"""I4, I5 and I7 at rest: when the faults are over, all is as wanted, and then nothing is written.

What is wanted is what the store says that people want: whatever became of their requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.runtime.protocol import ContainerState
from orchestrator.simulation.machine import Machine


def unrest(state: ClusterState, machines: Mapping[str, Machine]) -> Iterator[str]:
    """What is wanted and does not run, and what is left over anywhere."""
    wanted = {
        place for place, entry in state.assignments.items() if entry.record.wanted is Wanted.RUNNING
    }
    specs = {key: entry.record.spec for key, entry in state.workloads.items()}
    counts = Counter(place.instance.workload_key for place in wanted)
    replicas = {key: spec.replicas for key, spec in specs.items() if spec.replicas}
    if counts != replicas:
        yield f"wanted: {_told(counts.items(), replicas.items())}"
    for what, has, should in (
        ("statuses", set(state.statuses), set(specs)),
        ("templates", {name.workload for name in state.templates}, set(specs)),
        ("assignments", set(state.assignments), wanted),
        ("observations", set(state.observations), wanted),
        ("containers", set(_containers(machines)), set(_due(state, wanted))),
    ):
        if has != should:
            yield f"{what}: {_told(has, should)}"
    if state.leader is None:
        yield "nobody leads"


def _containers(machines: Mapping[str, Machine]) -> Iterator[tuple[str, str, str, int]]:
    """Every container there is, by node and instance, and the assignment that it was made for."""
    for node, machine in machines.items():
        for each in machine.host.containers.values():
            spec = each.status.spec
            yield node, spec.instance, each.status.state.value, spec.assignment


def _due(
    state: ClusterState, wanted: Iterable[InstancePlace]
) -> Iterator[tuple[str, str, str, int]]:
    for place in wanted:
        assignment = state.assignments[place].create_revision
        yield place.node, str(place.instance), ContainerState.RUNNING.value, assignment


def _told(has: Iterable[object], should: Iterable[object]) -> str:
    has, should = set(has), set(should)
    missing, left = sorted(map(str, should - has)), sorted(map(str, has - should))
    return f"missing {missing}, left over {left}"
