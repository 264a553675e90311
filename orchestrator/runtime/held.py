"""What every runtime does with the containers that it holds, whatever runs them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from orchestrator.model import errors
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus, LogLine

Held = TypeVar("Held", bound=Lifecycle)


class HoldingRuntime(ABC, Generic[Held]):
    """Most of a `ContainerRuntime`: a table of containers by id, each with its own lifecycle.

    What is left to a runtime is how one is begun, read and cleared away, and what it finds of its
    own when an agent starts and lets go of when it ends (`init_node`, `close`).
    """

    def __init__(self, containers: dict[str, Held]) -> None:
        self._containers = containers
        self._wakes: list[Callable[[], None]] = []

    @abstractmethod
    def _begin(self, spec: ContainerSpec) -> Held:
        """Returns at once; how it went is known when the container has settled.

        Raises `RuntimeError` for what cannot even be tried, and leaves nothing of it.
        """

    @abstractmethod
    def _read(
        self, container: Held, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        """Its log, as `logs` promises it."""

    @abstractmethod
    async def _clear_away(self, container: Held) -> None:
        """Delete what is left of one that has ended and is held no more."""

    def on_change(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        """Returns when its command runs. Raises `RuntimeError` if it cannot, and again when
        repeated; what is left can be looked at until it is removed."""
        container = self._containers.get(spec.id)
        if container is None:
            container = self._containers[spec.id] = self._begin(spec)
        elif container.status.spec.assignment != spec.assignment:
            raise errors.RuntimeError(
                f"{spec.id} of an earlier assignment is here: remove it first"
            )
        await container.settled.wait()
        status = container.status
        if status.state is ContainerState.EXITED and status.started_at is None:
            raise errors.RuntimeError(status.reason)
        return status

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        if (container := self._containers.get(container_id)) is not None:
            await container.stop(grace_seconds)

    async def stop_all(self, grace_seconds: float) -> None:
        """Stop all at once and keep their records: for the end of a local cluster.

        Each has its own grace, but none has more than `grace_seconds`.
        """
        async with asyncio.TaskGroup() as stopping:
            for container in self._containers.values():
                own = container.status.spec.stop_grace_seconds
                stopping.create_task(container.stop(min(own, grace_seconds)))

    async def remove(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        if container is None:
            return
        await container.kill()
        if self._containers.get(container_id) is container:  # nobody else removed it meanwhile
            del self._containers[container_id]
            await self._clear_away(container)

    async def status(self, container_id: str) -> ContainerStatus | None:
        container = self._containers.get(container_id)
        return container.status if container else None

    async def list(self) -> list[ContainerStatus]:
        return [container.status for _, container in sorted(self._containers.items())]

    def logs(
        self, container_id: str, *, follow: bool = False, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Raises `RuntimeError` if there is no such container."""
        container = self._containers.get(container_id)
        if container is None:
            raise errors.RuntimeError(f"there is no container {container_id} on this node")
        return self._read(container, follow=follow, tail=tail)

    def _woken(self) -> None:
        for wake in self._wakes:
            wake()
