"""Which nodes come and go, told by the leader as events for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orchestrator.model.membership import ClusterEvent, ClusterManager, NodeAdded, NodeRemoved

Tell = Callable[[str, str, str], Awaitable[None]]
"""(kind, node, reason)"""


async def tell_node_events(manager: ClusterManager, tell: Tell) -> None:
    """Until cancelled. What happens while nobody leads is seen by whoever looks, but not told."""
    await manager.initialize()
    async for event in manager.subscribe():
        if (told := _told(event)) is not None:
            await tell(*told)


def _told(event: ClusterEvent) -> tuple[str, str, str] | None:
    """What people say of a node is told by the API, in the transaction that writes it."""
    name = event.node.name
    if isinstance(event, NodeAdded):
        return "NodeJoined", name, f"its agent's session has begun (pid {event.node.pid})"
    if isinstance(event, NodeRemoved):
        return "NodeUnreachable", name, "its agent's session has ended"
    return None
