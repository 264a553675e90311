"""What every runtime does with the containers that it holds, whatever runs them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from orchestrator.model import errors
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.protocol import (
    ALL_LINES,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    ContainerUsage,
    ExecRequest,
    LogLine,
    LogQuery,
    Streams,
)

Held = TypeVar("Held", bound=Lifecycle)


class KeptLogs(Protocol):
    """The logs of what is held no more."""

    def ids(self) -> Iterable[str]: ...

    def read(self, container_id: str, query: LogQuery) -> AsyncGenerator[LogLine, None] | None:
        """None if there is none. Nothing is to come, so there is nothing to follow."""
        ...


class HoldingRuntime(ABC, Generic[Held]):
    """Most of a `ContainerRuntime`: a table of containers by id, each with its own lifecycle.

    What is left to a runtime is how one is begun, read, entered, measured and cleared away, and
    what it finds of its own when an agent starts and lets go of when it ends (`init_node`,
    `close`).
    """

    def __init__(self, containers: dict[str, Held], kept: KeptLogs) -> None:
        self._containers = containers
        self._kept = kept
        self._wakes: list[Callable[[], None]] = []

    @abstractmethod
    def _begin(self, spec: ContainerSpec) -> Held:
        """Returns at once; how it went is known when the container has settled.

        Raises `RuntimeError` for what cannot even be tried, and leaves nothing of it.
        """

    @abstractmethod
    def _read(self, container: Held, query: LogQuery) -> AsyncGenerator[LogLine, None]:
        """Its log, as `logs` promises it."""

    @abstractmethod
    async def _exec(self, container: Held, request: ExecRequest) -> Streams:
        """As `exec` promises it, in one that ran a moment ago."""

    @abstractmethod
    async def _attach(self, container: Held) -> Streams:
        """As `attach` promises it, to one that ran a moment ago."""

    @abstractmethod
    async def _usage(self, container: Held) -> ContainerUsage | None:
        """Of one that ran a moment ago; None if it runs no more."""

    @abstractmethod
    async def _clear_away(self, container: Held) -> None:
        """Delete what is left of one that has ended and is held no more, but keep its log."""

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

    def logs(self, container_id: str, query: LogQuery = ALL_LINES) -> AsyncGenerator[LogLine, None]:
        """Raises `RuntimeError` if there is no such container, nor a log of one."""
        container = self._containers.get(container_id)
        if container is not None:
            return self._read(container, query)
        if (lines := self._kept.read(container_id, query)) is not None:
            return lines
        raise _is_missing(container_id)

    async def kept_logs(self) -> Sequence[str]:
        return sorted(set(self._kept.ids()) - self._containers.keys())

    async def exec(self, container_id: str, request: ExecRequest) -> Streams:
        return await self._exec(self._running(container_id), request)

    async def attach(self, container_id: str) -> Streams:
        return await self._attach(self._running(container_id))

    async def usage(self) -> Sequence[ContainerUsage]:
        running = [each for _, each in sorted(self._containers.items()) if _runs(each)]
        measured = await asyncio.gather(*map(self._usage, running))
        return [usage for usage in measured if usage is not None]

    def _running(self, container_id: str) -> Held:
        container = self._containers.get(container_id)
        if container is None:
            raise _is_missing(container_id)
        if not _runs(container):
            status = container.status
            raise errors.RuntimeError(
                f"{container_id} does not run: it is {status.state}"
                f"{f' ({status.reason})' if status.reason else ''}"
            )
        return container

    def _woken(self) -> None:
        for wake in self._wakes:
            wake()


def _runs(container: Lifecycle) -> bool:
    return container.status.state is ContainerState.RUNNING


def _is_missing(container_id: str) -> errors.RuntimeError:
    return errors.RuntimeError(f"there is no container {container_id} on this node")
