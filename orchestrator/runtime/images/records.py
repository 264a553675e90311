"""What a node remembers of its images, on disk.

    images/<digest of the pinned reference>.json   an image: written when all of it is here
    names.json                                     which image each tag was last seen to name

When an image was last used is the time of its file's last change: noting it costs next to nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.images.durable import sync_directory, write_durably


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """`layers` are diff_ids, the lowest first."""

    pinned: str
    config: ImageConfig
    layers: tuple[str, ...]
    created: str = ""


_RECORD = TypeAdapter(ImageRecord)
_NAMES = TypeAdapter(dict[str, str])


class ImageRecords:
    """What is here is looked up in memory; every change is on the disk when its method returns.

    Changes are written one after the other, in the order in which they were asked for.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / "images"
        self._names_file = root / "names.json"
        self._records: dict[str, ImageRecord] = {}
        self._names: dict[str, str] = {}
        self._used_at: dict[str, float] = {}
        self._writing = asyncio.Lock()

    def open(self, layers: Collection[str]) -> None:
        """Read what is there. An image without all of its layers is not."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._directory.iterdir()):
            record = _read(path)
            if record is None or not set(record.layers).issubset(layers):
                path.unlink()
                continue
            self._records[record.pinned] = record
            self._used_at[record.pinned] = path.stat().st_mtime
        try:
            self._names = _NAMES.validate_json(self._names_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            self._names = {}

    @property
    def by_pinned(self) -> Mapping[str, ImageRecord]:
        return self._records

    @property
    def pinned_by_name(self) -> Mapping[str, str]:
        """What each tag was last seen to stand for."""
        return self._names

    def names_of(self, pinned: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, each in self._names.items() if each == pinned))

    def used_at(self, pinned: str) -> float:
        return self._used_at[pinned]

    def touch(self, pinned: str, now: float) -> None:
        """It is used now, if it is here."""
        if pinned in self._records:
            self._used_at[pinned] = now
            os.utime(self._path(pinned), (now, now))

    async def add(self, record: ImageRecord, now: float) -> None:
        async with self._writing:
            content = _RECORD.dump_json(record)
            await asyncio.to_thread(write_durably, self._path(record.pinned), content)
            self._records[record.pinned] = record
            self.touch(record.pinned, now)

    async def name(self, name: str, pinned: str) -> None:
        if self._names.get(name) != pinned:
            self._names[name] = pinned
            await self._write_names()

    async def remove(self, pinned: Collection[str]) -> None:
        """They are out of sight at once."""
        for each in pinned:
            self._records.pop(each, None)
            self._used_at.pop(each, None)
        self._names = {name: each for name, each in self._names.items() if each not in pinned}
        async with self._writing:
            await asyncio.to_thread(self._unlink, pinned)
        await self._write_names()

    async def _write_names(self) -> None:
        async with self._writing:
            content = _NAMES.dump_json(self._names)
            await asyncio.to_thread(write_durably, self._names_file, content)

    def _unlink(self, pinned: Iterable[str]) -> None:
        for each in pinned:
            self._path(each).unlink(missing_ok=True)
        sync_directory(self._directory)

    def _path(self, pinned: str) -> Path:
        return self._directory / f"{hashlib.sha256(pinned.encode()).hexdigest()}.json"


def _read(path: Path) -> ImageRecord | None:
    """None if it was being written, or is damaged."""
    if path.suffix != ".json":
        return None
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
