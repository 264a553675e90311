"""Changes that nobody has made, put into a copy of the state as if somebody had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.model.cluster_state import ClusterState, Entry
from orchestrator.model.errors import ConfigError
from orchestrator.model.keys import Kind, ParsedKey, RevisionName
from orchestrator.model.missing import no_such_node, no_such_workload
from orchestrator.model.node import Availability, DesiredNode, NodeSession
from orchestrator.model.rules.workload import MAX_REPLICAS, replica_faults
from orchestrator.model.workload import DesiredWorkload, WorkloadDefinition, WorkloadKey

MAX_NEW_NODES = 1000


@dataclass(frozen=True, slots=True)
class LoseNode:
    """It cannot be reached from now on. `for_good`: people have removed it from the cluster."""

    node: str
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class DrainNode:
    node: str


@dataclass(frozen=True, slots=True)
class AddNodes:
    """`count` new and empty nodes with what `like` has, its labels and its taints."""

    count: int
    like: str


@dataclass(frozen=True, slots=True)
class ScaleWorkload:
    workload: WorkloadKey
    replicas: int


@dataclass(frozen=True, slots=True)
class ApplyWorkload:
    """A new workload, or another definition of one that is there."""

    definition: WorkloadDefinition


Hypothesis = LoseNode | DrainNode | AddNodes | ScaleWorkload | ApplyWorkload


def check_new_nodes(hypotheses: Iterable[Hypothesis]) -> None:
    """Raises `ConfigError` if one adds none, or all of them too many."""
    counts = [each.count for each in hypotheses if isinstance(each, AddNodes)]
    if counts and (min(counts) < 1 or sum(counts) > MAX_NEW_NODES):
        told = " + ".join(map(str, counts))
        raise ConfigError(f"{told} new nodes: it must be 1 to {MAX_NEW_NODES}")


def suppose(state: ClusterState, hypothesis: Hypothesis, now: float) -> None:
    """Change `state` as if it were so.

    Raises `NodeNotFound`, `WorkloadNotFound`, and `ConfigError` for numbers out of bounds.
    """
    match hypothesis:
        case LoseNode():
            _lose(state, hypothesis, now)
        case DrainNode(node):
            _require_node(state, node)
            entry = state.desired_nodes.get(node)
            said = entry.record if entry else DesiredNode()
            draining = replace(said, availability=Availability.DRAINING)
            _put(state, Kind.DESIRED_NODE, node, draining, now)
        case AddNodes():
            _add(state, hypothesis, now)
        case ScaleWorkload(key, replicas):
            _scale(state, key, replicas, now)
        case _:
            _apply(state, hypothesis.definition, now)


def _put(state: ClusterState, kind: Kind, name: Any, record: Any, now: float) -> None:
    """As a write at the next revision would."""
    state.revision += 1
    parsed = ParsedKey(kind, name)
    known = state.known(parsed)
    created = known.create_revision if known else state.revision
    state.fold(parsed, Entry(record, created, state.revision, now), now)


def _require_node(state: ClusterState, name: str) -> None:
    is_there = name in state.reports or name in state.sessions or name in state.desired_nodes
    if not is_there:
        raise no_such_node(state, name)


def _lose(state: ClusterState, hypothesis: LoseNode, now: float) -> None:
    node = hypothesis.node
    _require_node(state, node)
    gone = [Kind.SESSION] if node in state.sessions else []
    if hypothesis.for_good:
        gone += [Kind.NODE_REPORT, Kind.DESIRED_NODE]
    for kind in gone:
        state.fold(ParsedKey(kind, node), None, now)


def _add(state: ClusterState, hypothesis: AddNodes, now: float) -> None:
    like, count = hypothesis.like, hypothesis.count
    _require_node(state, like)
    report = state.reports.get(like)
    if report is None:
        raise ConfigError(f"node {like} has not reported what it has: name another one")
    known = set(state.node_names())
    free = (name for at in range(1, count + len(known) + 1) if (name := f"new-{at}") not in known)
    entry = state.desired_nodes.get(like)
    said = entry.record if entry else DesiredNode()
    for name in [next(free) for _ in range(count)]:
        _put(state, Kind.NODE_REPORT, name, replace(report.record, problem=""), now)
        _put(
            state, Kind.DESIRED_NODE, name, DesiredNode(labels=said.labels, taints=said.taints), now
        )
        _put(state, Kind.SESSION, name, NodeSession(agent_id=name), now)


def _scale(state: ClusterState, key: WorkloadKey, replicas: int, now: float) -> None:
    if not 0 <= replicas <= MAX_REPLICAS:
        raise ConfigError(f"replicas is {replicas}: it must be 0 to {MAX_REPLICAS}")
    entry = state.workloads.get(key)
    if entry is None:
        raise no_such_workload(state, key)
    spec = replace(entry.record.spec, replicas=replicas)
    if fault := next(replica_faults(spec), None):
        raise ConfigError(fault.sentence)
    _put(state, Kind.WORKLOAD, key, replace(entry.record, spec=spec), now)


def _apply(state: ClusterState, definition: WorkloadDefinition, now: float) -> None:
    key, template = definition.key, definition.template()
    entry = state.workloads.get(key)
    generation = entry.record.generation if entry else 0
    known = state.templates.get(RevisionName(key, generation))
    if known is None or known.record != template:
        generations = [generation, *(name.generation for name in state.revisions_of(key))]
        generation = 1 + max(generations)
        _put(state, Kind.REVISION, RevisionName(key, generation), template, now)
    _put(state, Kind.WORKLOAD, key, DesiredWorkload(definition, generation), now)
