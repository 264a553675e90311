"""`EtcdClusterManager`: membership by etcd sessions, read from the view's one watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

from orchestrator.cluster.view import ClusterView, News
from orchestrator.model.errors import NodeNotFound
from orchestrator.model.membership import ClusterEvent, NodeAdded, NodeRemoved, NodeUpdated
from orchestrator.model.views import Node, node_of


class Look(NamedTuple):
    """The revisions of all that is said of a node; 0: nothing is."""

    session: int = 0
    report: int = 0
    desired: int = 0


ABSENT = Look()


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
        """There is no queue to overflow: a reader that is slow misses what came and went."""
        news = asyncio.Event()

        def wake(told: News) -> None:
            if told.nodes:
                news.set()

        with self._view.waking(wake):
            seen = self._look()
            while True:
                await news.wait()
                news.clear()
                before, seen = seen, self._look()
                for event in self._events(before, seen):
                    yield event

    def _look(self) -> dict[str, Look]:
        return {name: self._look_at(name) for name in self._view.state.node_names()}

    def _look_at(self, name: str) -> Look:
        state = self._view.state
        session, report = state.sessions.get(name), state.reports.get(name)
        desired = state.desired_nodes.get(name)
        return Look(
            session.create_revision if session else 0,
            report.mod_revision if report else 0,
            desired.mod_revision if desired else 0,
        )

    def _events(
        self, before: Mapping[str, Look], after: Mapping[str, Look]
    ) -> Iterator[ClusterEvent]:
        for name in sorted({*before, *after}):
            if event := self._event(name, before.get(name, ABSENT), after.get(name, ABSENT)):
                yield event

    def _event(self, name: str, was: Look, now: Look) -> ClusterEvent | None:
        if now.session and not was.session:
            return NodeAdded(self._node(name))
        if was.session and not now.session:
            return NodeRemoved(self._node(name))
        return NodeUpdated(self._node(name)) if now not in {was, ABSENT} else None

    def _node(self, name: str) -> Node:
        return node_of(self._view.state, name, self._view.clock())
