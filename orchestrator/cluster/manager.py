"""`EtcdClusterManager`: membership by etcd sessions, read from the view's one watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from orchestrator.cluster.view import ClusterView, Listener
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
        """A reader that is too slow for all the changes misses what came and went meanwhile."""
        known = set(self._view.state.sessions)
        while True:
            with self._view.listen() as listener:
                for name in sorted(known ^ set(self._view.state.sessions)):
                    if event := self._of_session(name, known):
                        yield event
                with suppress(StateError):
                    async for event in self._events(listener, known):
                        yield event

    async def _events(self, listener: Listener, known: set[str]) -> AsyncIterator[ClusterEvent]:
        """Raises `StateError` when the reader has fallen behind."""
        async for changes in listener:
            for change in changes:
                if event := self._event(change.key, known):
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
        return self._of_session(name, known)

    def _of_session(self, name: str, known: set[str]) -> ClusterEvent | None:
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
