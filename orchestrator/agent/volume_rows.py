"""`VolumeRows`: the rows that tell the leader which slots have their data on this node.

Theory of operation
-------------------
A slot whose volume has a row on a node goes nowhere else. So the row is in the store before the
volume is made: if this agent ends at any point, or is cut off, the leader never gives the slot to a
node that lacks its data. The other way round, a row without a volume would tie the slot to nothing:
it is taken back when the start that it was written for has come to nothing, and looked for when
the agent starts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import structlog

from orchestrator.agent.reporter import Reporter
from orchestrator.model.errors import StateError
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import Keys, Kind, VolumePlace
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import WorkloadTemplate
from orchestrator.runtime.volumes.node_volumes import LocalVolume, NodeVolumes
from orchestrator.runtime.volumes.wanted import local_volumes

log = structlog.get_logger()

TELL_SECONDS = 3.0
"""How long whoever deletes a volume waits for the store to know of it."""


class VolumeRows:
    """`now` is in seconds since 1970."""

    def __init__(
        self,
        node: str,
        keys: Keys,
        reporter: Reporter,
        volumes: NodeVolumes,
        *,
        now: Callable[[], float],
    ) -> None:
        self._node = node
        self._keys = keys
        self._reporter = reporter
        self._volumes = volumes
        self._now = now
        self._announced: Counter[VolumeName] = Counter()

    def match(self) -> None:
        """Make the rows say what is on disk, once the reporter has read them."""
        self._settle({*self._volumes.names(), *self._told()})

    @asynccontextmanager
    async def announced(
        self, instance: InstanceName, template: WorkloadTemplate
    ) -> AsyncIterator[None]:
        """In the block its containers are created. Before it the rows of its slot's volumes are in
        the store, for which it waits; after it, those of the volumes that have come to be."""
        mounted = {mount.volume for each in template.containers for mount in each.mounts}
        used = [each for each in template.volumes if each.name in mounted]
        names = local_volumes(instance, used)
        self._announced.update(names)
        try:
            for name in names:
                self._say(name)
            await self._reporter.written([self._key(name) for name in names])
            yield
        finally:
            self._announced = self._announced - Counter(names)
            self._settle(names)

    async def list(self, *, with_sizes: bool) -> list[LocalVolume]:
        return await self._volumes.list(with_sizes=with_sizes)

    async def remove(self, name: VolumeName) -> None:
        """Delete it with its data, then its row. Raises `StateError` while an instance has it, or
        is about to, and `WorkloadNotFound` if this node has none of that name."""
        if self._announced[name] > 0:
            raise StateError(f"volume {name} is about to be used: stop its instance first")
        await self._volumes.remove(str(name))
        log.info("a volume is deleted", volume=str(name))
        self._settle([name])
        with suppress(TimeoutError):  # it is deleted all the same, and the row will be
            async with asyncio.timeout(TELL_SECONDS):
                await self._reporter.written([self._key(name)])

    def _settle(self, names: Iterable[VolumeName]) -> None:
        there = set(self._volumes.names())
        for name in names:
            if name in there:
                self._say(name)
            elif self._announced[name] <= 0:
                self._reporter.unsay(self._key(name))

    def _say(self, name: VolumeName) -> None:
        key = self._key(name)
        if key not in self._reporter.said:
            self._reporter.say(key, NodeVolume(created_at=self._now()))

    def _told(self) -> Iterable[VolumeName]:
        for key in self._reporter.said:
            parsed = self._keys.parse(key)
            if parsed.kind is Kind.VOLUME and isinstance(parsed.name, VolumePlace):
                yield parsed.name.volume

    def _key(self, name: VolumeName) -> str:
        return self._keys.volume(VolumePlace(self._node, name))
