"""Who is in the cluster: what changes of it are told, and the seam that tells them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator.model.views import Node


@dataclass(frozen=True, slots=True)
class NodeAdded:
    """The node's session has begun: it is there."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeRemoved:
    """The node's session has ended. Whether it is lost is for the planner to say, in time."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeUpdated:
    """Something that a person or its agent says of a node has changed."""

    node: Node


ClusterEvent = NodeAdded | NodeRemoved | NodeUpdated


class ClusterManager(Protocol):
    """Membership, however it is kept: by etcd sessions, later by gossip beside them."""

    async def initialize(self) -> None:
        """Wait until the nodes are known."""
        ...

    def get_node(self, name: str) -> Node:
        """Raises `NodeNotFound`."""
        ...

    def list_nodes(self) -> list[Node]:
        """All nodes ever seen and not deleted, by name."""
        ...

    def subscribe(self) -> AsyncIterator[ClusterEvent]:
        """Changes from now on, in order, until the iterator is closed."""
        ...
