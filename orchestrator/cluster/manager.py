"""`EtcdClusterManager`: membership by etcd sessions, read from the view's one watch."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator.cluster.view import ClusterView
from orchestrator.model.errors import NodeNotFound, StateError
from orchestrator.model.keys import Kind
from orchestrator.model.membership import ClusterEvent, NodeAdded, NodeRemoved, NodeUpdated
from orchestrator.model.views import Node, node_of


class EtcdClusterManager:
    def __init__(self, view: ClusterView) -> None:
        self._view = view

    async def initialize(self) -> None:
        await self._view.synced()

    def get_node(self, name: str) -> Node:
        if name not in self._view.state.node_names():
            raise NodeNotFound(f"there is no node {name!r}: `orc get nodes` lists them")
        return self._node(name)

    def list_nodes(self) -> list[Node]:
        return [self._node(name) for name in self._view.state.node_names()]

    async def subscribe(self) -> AsyncIterator[ClusterEvent]:
        known = set(self._view.state.sessions)
        with self._view.listen() as listener:
            async for changes in listener:
                events = (self._event(change.key, known) for change in changes)
                for event in (each for each in events if each):
                    yield event

    def _event(self, key: str, known: set[str]) -> ClusterEvent | None:
        """What a change means, by the state as it is now: of two quick changes the last counts."""
        try:
            parsed = self._view.keys.parse(key)
        except StateError:
            return None
        name = parsed.name
        if parsed.kind in {Kind.DESIRED_NODE, Kind.NODE_REPORT} and isinstance(name, str):
            return NodeUpdated(self._node(name))
        if parsed.kind is not Kind.SESSION or not isinstance(name, str):
            return None
        is_there = name in self._view.state.sessions
        if is_there == (name in known):
            return None
        if is_there:
            known.add(name)
            return NodeAdded(self._node(name))
        known.discard(name)
        return NodeRemoved(self._node(name))

    def _node(self, name: str) -> Node:
        return node_of(self._view.state, name, self._view.clock())
