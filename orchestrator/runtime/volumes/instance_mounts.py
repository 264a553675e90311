"""What is mounted for an instance: `<root>/<instance>/<volume>`, shared by its containers.

Theory of operation
-------------------
The directory, or file, that something is mounted on is made before and removed after: so it tells
what may be mounted, and the kernel tells what is. It is only ever removed as an empty one, never
with what is in it: were a mount still there, that would be somebody's data.

Each conmon lives in a mount namespace of its own, which has copies of all mounts of the node at
that moment, also those of other instances. They do not outlive the original: when what a mount
is on is removed, the kernel takes its copies away in every other namespace.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.container import Volume, VolumeKind
from orchestrator.runtime.volumes.mounting import (
    FLAGS,
    bind,
    mount_memory,
    mount_nfs,
    mounts_below,
    unmount_all,
)
from orchestrator.runtime.volumes.uninterrupted import uninterrupted

_MEMORY_FLAGS = ("nosuid", "nodev", "noexec")
_NFS_OPTIONS = ("nosuid", "nodev")


@dataclass(frozen=True, slots=True)
class NfsTerms:
    """`program` mounts it, and is given so long."""

    program: str = "mount.nfs"
    timeout_seconds: float = 30.0


class InstanceMounts:
    """Below `root`, which nobody but us may enter. `OSError` passes everywhere."""

    def __init__(self, root: Path, nfs: NfsTerms) -> None:
        self._root = root
        self._nfs = nfs
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def instances(self) -> list[str]:
        return sorted(each.name for each in self._root.iterdir())

    def volumes(self, instance: str) -> list[str]:
        directory = self._root / instance
        return sorted(each.name for each in directory.iterdir()) if directory.exists() else []

    async def mount(self, instance: str, volume: Volume, source: int | None) -> Path:
        """Where it is mounted, be it by now or already. `source` is what a path of the node has
        open. Raises `RuntimeError` in the words of what could not mount it."""
        target = self._root / instance / volume.name
        if target in await asyncio.to_thread(mounts_below, target):
            return target
        target.parent.mkdir(mode=0o700, exist_ok=True)
        _prepare(target, source)
        if volume.kind is VolumeKind.BIND:
            assert source is not None
            await uninterrupted(bind, source, target)
        elif volume.kind is VolumeKind.TMPFS:
            await uninterrupted(mount_memory, target, *_of_memory(volume))
        else:
            options = (*_split(volume), *_NFS_OPTIONS)
            nfs = self._nfs
            await mount_nfs(nfs.program, volume.source, target, options, nfs.timeout_seconds)
        return target

    async def unmount(self, instance: str, volume: str) -> None:
        """And leave nothing of it. Repeatable."""
        target = self._root / instance / volume
        await unmount_all(target)
        if target.is_file():
            target.unlink()
        elif target.exists():
            target.rmdir()
        if target.parent.exists() and not self.volumes(instance):
            target.parent.rmdir()

    async def unmount_instance(self, instance: str) -> None:
        for volume in self.volumes(instance):
            await self.unmount(instance, volume)


def _prepare(target: Path, source: int | None) -> None:
    """A file can only be mounted on a file."""
    if source is not None and not stat.S_ISDIR(os.stat(f"/proc/self/fd/{source}").st_mode):
        target.touch(mode=0o600)
    else:
        target.mkdir(mode=0o700, exist_ok=True)


def _of_memory(volume: Volume) -> tuple[Sequence[str], Sequence[str]]:
    """Flags and options of a tmpfs: as Docker's are, unless the volume says otherwise."""
    asked = _split(volume)
    flags = {*_MEMORY_FLAGS, *asked} & FLAGS.keys()
    if "exec" in asked:
        flags -= {"noexec"}
    options = [each for each in asked if "=" in each]
    if not any(each.startswith("mode=") for each in options):
        options.append("mode=1777")
    if volume.size_mb is not None:
        options.append(f"size={round(volume.size_mb * 1_000_000)}")
    return sorted(flags), options


def _split(volume: Volume) -> list[str]:
    """The model's rules have seen to it that each is fit to be passed on."""
    return volume.options.split(",") if volume.options else []
