"""Room for images on a node's disk: what is deleted, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.runtime.images.collecting import Candidate, Usage, oldest_unused
from orchestrator.runtime.images.layers import LayerStore
from orchestrator.runtime.images.records import ImageRecords
from orchestrator.runtime.images.terms import MEGABYTE, StorageTerms

log = structlog.get_logger()

UNPACKED_FACTOR = 3
"""How much larger layers usually are when they are unpacked."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """`freed_bytes` are those of layers, which images may share."""

    images: tuple[str, ...] = ()
    freed_bytes: int = 0


class Room:
    """`users` tells what must stay: it is asked in the same moment in which things are deleted."""

    def __init__(
        self,
        root: Path,
        terms: StorageTerms,
        records: ImageRecords,
        layers: LayerStore,
        *,
        users: Callable[[], Mapping[str, object]],
        now: Callable[[], float],
    ) -> None:
        self._root = root
        self._terms = terms
        self._records = records
        self._layers = layers
        self._users = users
        self._now = now

    async def make_room(self, arriving_bytes: int) -> None:
        """For so much that is to be pulled, and then unpacked. Raises `RuntimeError`."""
        kept = self._terms.bounds.free_bytes
        hoped = arriving_bytes * (1 + UNPACKED_FACTOR) + kept
        await self._free(hoped - self._usage().free_bytes)
        free = self._usage().free_bytes - kept
        if arriving_bytes > free:
            raise errors.RuntimeError(
                f"its {arriving_bytes // MEGABYTE} MB do not fit on this node's disk, which has"
                f" {max(free, 0) // MEGABYTE} MB to give: make room, as with `orc image prune`"
            )

    async def collect(self) -> Deleted:
        for pinned in self._users():
            self._records.touch(pinned, self._now())
        return await self._free(self._usage().excess(self._terms))

    async def tend(self) -> None:
        """Have what was pulled on the disk for good, and collect. What fails is logged."""
        try:
            await self._layers.settle()
            deleted = await self.collect()
        except (errors.RuntimeError, OSError) as error:
            log.warning("images cannot be looked after", problem=str(error))
            return
        if deleted.freed_bytes:
            log.info(
                "deleted images that nothing used: they took too much room",
                images=deleted.images,
                freed_mb=deleted.freed_bytes // MEGABYTE,
            )

    async def prune(self) -> Deleted:
        users = self._users()
        return await self.delete([each for each in self._records.by_pinned if each not in users])

    async def delete(self, images: Collection[str]) -> Deleted:
        """And all layers that no image has then."""
        await self._records.remove(images)
        wanted = {layer for record in self._records.by_pinned.values() for layer in record.layers}
        return Deleted(tuple(sorted(images)), await self._layers.discard(wanted))

    async def _free(self, excess_bytes: int) -> Deleted:
        if excess_bytes <= 0:
            return Deleted()
        users = self._users()
        records = self._records.by_pinned
        unused = [
            Candidate(pinned, frozenset(record.layers), self._records.used_at(pinned))
            for pinned, record in records.items()
            if pinned not in users
        ]
        kept = {layer for pinned in users if pinned in records for layer in records[pinned].layers}
        sizes = {each.diff_id: each.size_bytes for each in self._layers.records.values()}
        return await self.delete(oldest_unused(unused, kept, sizes, excess_bytes))

    def _usage(self) -> Usage:
        disk = os.statvfs(self._root)
        layers = sum(each.size_bytes for each in self._layers.records.values())
        return Usage(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, layers)
