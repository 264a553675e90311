"""The kinds of objects that are listed and watched, and which keys each depends on. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from orchestrator.api.queries import WatchKind, WatchQuery
from orchestrator.model.answers import Identity
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, Kind, ParsedKey
from orchestrator.model.node import Event
from orchestrator.model.views import (
    Node,
    Workload,
    WorkloadInstance,
    instance_of,
    node_of,
    workload_of,
)
from orchestrator.model.workload import WorkloadKey

Id = TypeVar("Id")
Shown = TypeVar("Shown")


class Feed(ABC, Generic[Id, Shown]):
    """One kind of object, as the cluster's state has it."""

    @abstractmethod
    def ids(self, state: ClusterState) -> list[Id]:
        """All that are there, in the order in which they are listed."""

    @abstractmethod
    def touched(self, state: ClusterState, key: ParsedKey) -> Iterable[Id]:
        """Those that may look different after `key` has changed."""

    @abstractmethod
    def show(self, state: ClusterState, id_: Id, now: float) -> Shown | None:
        """None: it is not there."""

    @abstractmethod
    def identity(self, id_: Id) -> Identity:
        """What it is called, there or not."""

    def fits(self, id_: Id, _shown: Shown | None, query: WatchQuery) -> bool:
        """Whether it is asked for. `_shown`: how it is, or was when last seen."""
        identity = self.identity(id_)
        return query.namespace in ("", identity.namespace) and query.name in ("", identity.name)

    def ageing(self, _state: ClusterState) -> Iterable[Id]:
        """Those that time alone makes look different."""
        return ()


class _Workloads(Feed[WorkloadKey, Workload]):
    def ids(self, state: ClusterState) -> list[WorkloadKey]:
        return state.workload_keys()

    def touched(self, state: ClusterState, key: ParsedKey) -> Iterable[WorkloadKey]:
        if isinstance(key.name, WorkloadKey):
            yield key.name
        elif (workload := key.workload) is not None and (
            key.kind is not Kind.OBSERVATION or workload in state.damaged_by_owner
        ):
            yield workload

    def show(self, state: ClusterState, id_: WorkloadKey, _now: float) -> Workload | None:
        is_there = (
            id_ in state.workloads
            or id_ in state.places_by_workload
            or id_ in state.statuses
            or id_ in state.damaged_by_owner
        )
        return workload_of(state, id_) if is_there else None

    def identity(self, id_: WorkloadKey) -> Identity:
        return Identity(id_.name, id_.namespace)


class _Instances(Feed[InstancePlace, WorkloadInstance]):
    def ids(self, state: ClusterState) -> list[InstancePlace]:
        return sorted(state.assignments, key=_by_instance)

    def touched(self, state: ClusterState, key: ParsedKey) -> Iterable[InstancePlace]:
        if isinstance(key.name, InstancePlace):
            yield key.name
        elif key.kind is Kind.SESSION and isinstance(key.name, str):
            yield from sorted(state.places_by_node.get(key.name, ()), key=_by_instance)

    def show(self, state: ClusterState, id_: InstancePlace, _now: float) -> WorkloadInstance | None:
        return instance_of(state, id_) if id_ in state.assignments else None

    def identity(self, id_: InstancePlace) -> Identity:
        return Identity(str(id_.instance), id_.instance.namespace)


class _Nodes(Feed[str, Node]):
    _OWN = frozenset({Kind.DESIRED_NODE, Kind.NODE_REPORT, Kind.SESSION})

    def ids(self, state: ClusterState) -> list[str]:
        return state.node_names()

    def touched(self, _state: ClusterState, key: ParsedKey) -> Iterable[str]:
        if key.kind in self._OWN and isinstance(key.name, str):
            yield key.name
        elif key.kind is Kind.ASSIGNMENT and isinstance(key.name, InstancePlace):
            yield key.name.node

    def show(self, state: ClusterState, id_: str, now: float) -> Node | None:
        is_there = id_ in state.reports or id_ in state.sessions or id_ in state.desired_nodes
        return node_of(state, id_, now) if is_there else None

    def identity(self, id_: str) -> Identity:
        return Identity(id_)

    def fits(self, id_: str, _shown: Node | None, query: WatchQuery) -> bool:
        """Nodes are in no namespace."""
        return query.name in ("", id_)

    def ageing(self, state: ClusterState) -> Iterable[str]:
        """A node that cannot be reached goes from Unknown to Down."""
        return [name for name in state.node_names() if name not in state.sessions]


class _Events(Feed[str, Event]):
    def ids(self, state: ClusterState) -> list[str]:
        """The newest last: by revision, since clocks differ."""
        return sorted(state.events, key=lambda name: (state.events[name].mod_revision, name))

    def touched(self, _state: ClusterState, key: ParsedKey) -> Iterable[str]:
        if key.kind is Kind.EVENT and isinstance(key.name, str):
            yield key.name

    def show(self, state: ClusterState, id_: str, _now: float) -> Event | None:
        entry = state.events.get(id_)
        return entry.record if entry else None

    def identity(self, id_: str) -> Identity:
        return Identity(id_)

    def fits(self, _id: str, shown: Event | None, query: WatchQuery) -> bool:
        if shown is None or query.namespace not in ("", shown.namespace):
            return False
        return not query.name or concerns(shown, query.name)


WORKLOADS = _Workloads()
INSTANCES = _Instances()
NODES = _Nodes()
EVENTS = _Events()

FEEDS: dict[WatchKind, Feed[Any, Any]] = {
    WatchKind.WORKLOADS: WORKLOADS,
    WatchKind.INSTANCES: INSTANCES,
    WatchKind.NODES: NODES,
    WatchKind.EVENTS: EVENTS,
}


def _by_instance(place: InstancePlace) -> tuple[InstanceName, str]:
    return place.instance, place.node


def concerns(event: Event, subject: str) -> bool:
    """Whether an event is of `subject`: a node, an instance, or a workload (by its name, or as
    `namespace/name`) with all its instances."""
    workload = subject if "/" in subject else f"{event.namespace}/{subject}"
    instances = workload.replace("/", ".") + "."
    return event.subject in {subject, workload} or event.subject.startswith(instances)
