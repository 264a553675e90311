"""`Operator`: a person with `orc`, who says what is wanted and looks until it is so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import NotFound, NotNow, Refused, ServerUnreachable
from orchestrator.model.answers import Written
from orchestrator.model.instance import Wanted, WorkloadInstanceStatus
from orchestrator.model.node import Event
from orchestrator.model.views import Workload, WorkloadInstance
from orchestrator.model.workload import (
    DEFAULT_NAMESPACE,
    ContainerConfig,
    WorkloadDefinition,
    WorkloadKey,
)

LIMIT_SECONDS = 60.0
"""Far more than anything takes: whoever reaches it, waits for what will not come."""

T = TypeVar("T")

NOT_NOW = (ServerUnreachable, NotNow)


async def until(ask: Callable[[], Awaitable[T | None]], within_seconds: float = LIMIT_SECONDS) -> T:
    """Ask until the answer is true, and return it. That nobody answers is no answer."""
    deadline = time.monotonic() + within_seconds
    while True:
        last: object = None
        try:
            if answer := await ask():
                return answer
            last = answer
        except NOT_NOW as error:
            last = error
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {last!r}"
        await asyncio.sleep(0.05)


def workload(name: str, *command: str, replicas: int = 1, **changes: object) -> WorkloadDefinition:
    """Of one plain process, by default one that only sleeps."""
    container = ContainerConfig("main", command=command or ("sleep", "100000"))
    made = WorkloadDefinition(name, (container,), replicas=replicas, stop_grace_seconds=2.0)
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types


def script(name: str, text: str, replicas: int = 1, **changes: object) -> WorkloadDefinition:
    return workload(name, "sh", "-c", text, replicas=replicas, **changes)


@dataclass(frozen=True, slots=True)
class Operator:
    """All workloads are in the default namespace."""

    api: ApiClient

    async def apply(self, definition: WorkloadDefinition) -> Written:
        return await self.api.apply(definition)

    async def scale(self, name: str, replicas: int) -> Written:
        """As soon as somebody can carry it out."""
        return await until(lambda: self.api.scale(key_of(name), replicas))

    async def scale_once_there_is_room(self, name: str, replicas: int) -> None:
        """A replica refuses until it has seen that etcd takes writes again."""

        async def is_taken() -> bool:
            try:
                await self.scale(name, replicas)
            except Refused:
                return False
            return True

        await until(is_taken)

    async def delete(self, name: str) -> None:
        """And wait until nothing of it is left."""
        await until(lambda: self.api.delete_workload(key_of(name)))

        async def is_gone() -> bool:
            try:
                await self.api.workload(key_of(name))
            except NotFound:
                return True
            return False

        await until(is_gone)

    async def workload(self, name: str) -> Workload:
        return await self.api.workload(key_of(name))

    async def instances(self, name: str) -> list[WorkloadInstance]:
        """By slot and attempt."""
        found = await self.api.instances(namespace=DEFAULT_NAMESPACE, workload=name)
        return sorted(found.items, key=lambda each: (each.slot, each.attempt))

    async def running(
        self,
        name: str,
        count: int,
        holds: Callable[[list[WorkloadInstance]], bool] = lambda _: True,
        *,
        others_may_be_stopping: bool = False,
    ) -> list[WorkloadInstance]:
        """Wait until exactly so many are wanted, all of them run, nothing else is left, and
        `holds`."""

        async def settled() -> list[WorkloadInstance]:
            found = await self.instances(name)
            wanted = [each for each in found if each.wanted is Wanted.RUNNING]
            is_alone = others_may_be_stopping or wanted == found
            is_so = is_alone and len(wanted) == count and all(map(is_running, wanted))
            return wanted if is_so and holds(wanted) else []

        return await until(settled)

    async def leader(self, *, other_than: str = "") -> str:
        """Wait for one; which it is."""

        async def leading() -> str:
            leader = (await self.api.cluster()).leader
            return leader.replica if leader and leader.replica != other_than else ""

        return await until(leading)

    async def events(self, subject: str) -> list[Event]:
        return list((await self.api.events(subject=subject)).items)


@asynccontextmanager
async def operating(client: ApiClient) -> AsyncIterator[Operator]:
    async with client as api:
        yield Operator(api)


def is_running(instance: WorkloadInstance) -> bool:
    return instance.status is WorkloadInstanceStatus.RUNNING and instance.wanted is Wanted.RUNNING


def pid_of(instance: WorkloadInstance) -> int:
    """Of its only container."""
    (container,) = instance.containers
    assert container.pid, instance
    return container.pid


def pids_of(instances: list[WorkloadInstance]) -> dict[str, int]:
    return {instance.name: pid_of(instance) for instance in instances}


def key_of(name: str) -> WorkloadKey:
    return WorkloadKey(DEFAULT_NAMESPACE, name)
