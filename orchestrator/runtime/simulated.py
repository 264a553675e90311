"""The `ContainerRuntime` of the simulation, and of tests that need no processes.

The containers are the `SimulatedHost`'s. A runtime is an agent's hold on that machine; a restarted
agent makes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from orchestrator.model import errors
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    LogLine,
    RuntimeReport,
)
from orchestrator.runtime.simulated_host import SimulatedContainer, SimulatedHost


class SimulatedRuntime:
    """A `ContainerRuntime` on a `SimulatedHost`; the newest one to be initialised is woken."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self._wakes: list[Callable[[], None]] = []

    async def init_node(self) -> RuntimeReport:
        self._host.wake = self._woken
        return RuntimeReport(("process",), {"simulated": "1"})

    def on_change(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        if not spec.argv or not spec.argv[0]:
            raise errors.RuntimeError(f"{spec.id} has no command")
        container = self._host.containers.get(spec.id)
        if container is None:
            container = self._host.start(spec)
        elif container.status.spec.assignment != spec.assignment:
            raise errors.RuntimeError(f"an earlier {spec.id} is still here: remove it first")
        await container.settled.wait()
        status = container.status
        if status.state is ContainerState.EXITED and status.started_at is None:
            raise errors.RuntimeError(status.reason)
        return status

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        if (container := self._host.containers.get(container_id)) is not None:
            await container.stop(grace_seconds)

    async def stop_all(self, grace_seconds: float) -> None:
        async with asyncio.TaskGroup() as stopping:
            for container in self._host.containers.values():
                own = container.status.spec.stop_grace_seconds
                stopping.create_task(container.stop(min(own, grace_seconds)))

    async def remove(self, container_id: str) -> None:
        container = self._host.containers.get(container_id)
        if container is None:
            return
        await container.kill()
        if self._host.containers.get(container_id) is container:
            del self._host.containers[container_id]

    async def status(self, container_id: str) -> ContainerStatus | None:
        container = self._host.containers.get(container_id)
        return container.status if container else None

    async def list(self) -> list[ContainerStatus]:
        return [container.status for _, container in sorted(self._host.containers.items())]

    def logs(
        self, container_id: str, *, follow: bool = False, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Raises `RuntimeError` if there is no such container."""
        container = self._host.containers.get(container_id)
        if container is None:
            raise errors.RuntimeError(f"there is no container {container_id} on this node")
        return _lines(container, follow=follow, tail=tail)

    async def close(self) -> None:
        if self._host.wake == self._woken:
            self._host.wake = lambda: None

    def _woken(self) -> None:
        for wake in self._wakes:
            wake()


async def _lines(
    container: SimulatedContainer, *, follow: bool, tail: int | None
) -> AsyncGenerator[LogLine, None]:
    index = 0 if tail is None else max(0, len(container.lines) - tail)
    while True:
        is_last = container.ended.is_set() or not follow
        pulse = container.pulse
        for line in container.lines[index:]:
            index += 1
            yield line
        if is_last:
            return
        await pulse.wait()
