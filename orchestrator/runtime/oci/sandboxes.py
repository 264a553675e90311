"""The networks of instances: made for the first container, taken down after the last."""

from __future__ import annotations

from orchestrator.model.container import NetworkMode
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.protocol import ContainerSpec


class Sandboxes:
    """Knows of every container whether it is down: all of it but its records and its log."""

    def __init__(self, network: NodeNetwork) -> None:
        self._network = network
        self._is_down: dict[str, dict[str, bool]] = {}

    def in_use(self) -> set[str]:
        return {name for name, downs in self._is_down.items() if not all(downs.values())}

    def note(self, spec: ContainerSpec, *, is_down: bool) -> None:
        self._is_down.setdefault(spec.instance, {})[spec.id] = is_down

    async def enter(self, spec: ContainerSpec, mode: NetworkMode) -> Sandbox | None:
        """None on the node's own network. Raises `RuntimeError`."""
        self.note(spec, is_down=False)
        match mode:
            case NetworkMode.BRIDGE:
                return await self._network.join(spec.instance)
            case NetworkMode.NONE:
                return await self._network.isolate(spec.instance)
            case NetworkMode.HOST:
                return None

    async def leave(self, spec: ContainerSpec) -> None:
        """What is to come of its instance finds the same network. Raises `RuntimeError`."""
        self.note(spec, is_down=True)
        downs = self._is_down[spec.instance]
        if all(downs.values()) and len(downs) >= spec.siblings:
            await self._network.leave(spec.instance)

    async def forget(self, spec: ContainerSpec) -> None:
        """It has been removed: with the last one of its instance nothing is to come."""
        downs = self._is_down.get(spec.instance, {})
        if downs.pop(spec.id, None) is None or downs:
            return
        del self._is_down[spec.instance]
        if spec.siblings > 1:
            await self._network.leave(spec.instance)
