"""Directories that a node keeps for slots of workloads, until people delete them.

A directory comes into being as Docker's volumes do: with what the image has at the place where it
is first mounted, under the owner and the mode that the image gives it. Where the image has nothing
there, or something of root's, the directory belongs to the user that the container runs as: what
it cannot write to is of no use to it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from dataclasses import dataclass
from math import inf
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.container_dir import delete_tree
from orchestrator.runtime.volumes.holds import sync_names
from orchestrator.runtime.volumes.mounting import run
from orchestrator.runtime.volumes.sources import open_in_root
from orchestrator.runtime.volumes.uninterrupted import uninterrupted

_UNFINISHED = ".new-"
_DELETED = ".gone-"
_MODE = 0o755


@dataclass(frozen=True, slots=True)
class FirstUse:
    """Who a new directory is for: the user and group that the container's own are on the node, and
    the root of its image. `rootfs` None: there is nothing to begin with."""

    uid: int = 0
    gid: int = 0
    rootfs: Path | None = None


class LocalDirectories:
    """Below `root`, which nobody but us may enter. Raises `ConfigError` if that cannot be."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise errors.ConfigError(
                f"the agent cannot keep volumes in {root}: {error.strerror}; choose another"
                " --data-dir"
            ) from None

    def path(self, name: str) -> Path:
        return self._root / name

    def names(self) -> list[str]:
        return sorted(each.name for each in self._root.iterdir() if not each.name.startswith("."))

    async def ensure(self, name: str, first_use: FirstUse, path: str) -> Path:
        """The directory, made if need be; `path` is where the container has it. One that is not
        finished is never seen under its name. `OSError` and `RuntimeError` pass."""
        directory = self.path(name)
        if directory.exists():
            return directory
        fresh = self._root / (_UNFINISHED + name)
        await asyncio.to_thread(delete_tree, fresh)
        fresh.mkdir(mode=0o700)
        try:
            await _furnish(fresh, first_use, path)
            await uninterrupted(self._present, fresh, directory)
        except (OSError, errors.RuntimeError):
            await asyncio.to_thread(delete_tree, fresh)
            raise
        return directory

    def _present(self, fresh: Path, directory: Path) -> None:
        fresh.rename(directory)
        sync_names(self._root)

    def discard(self, name: str) -> Path:
        """Take it out of sight in one step. The caller deletes what is returned, at leisure."""
        directory = self.path(name)
        return directory.rename(self._root / f"{_DELETED}{directory.stat().st_ino}")

    async def sweep(self) -> None:
        """Delete what was being made or deleted when an agent ended."""
        for each in self._root.iterdir():
            if each.name.startswith((_UNFINISHED, _DELETED)):
                await asyncio.to_thread(delete_tree, each)

    async def size_bytes(self, name: str) -> int:
        """What it takes of the disk; what comes and goes meanwhile may be missing."""
        return await asyncio.to_thread(_size_bytes, self.path(name))


async def _furnish(fresh: Path, first_use: FirstUse, path: str) -> None:
    owner, mode = (first_use.uid, first_use.gid), _MODE
    image = open_in_root(first_use.rootfs, path) if first_use.rootfs is not None else None
    if image is not None:
        try:
            found = os.stat(f"/proc/self/fd/{image}")
            await _copy(image, fresh)
        finally:
            os.close(image)
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != 0:
            owner = (found.st_uid, found.st_gid)
    os.chown(fresh, *owner)
    os.chmod(fresh, mode)


async def _copy(source: int, target: Path) -> None:
    """With owners, modes, times, links and extended attributes."""
    what = f"/proc/{os.getpid()}/fd/{source}/."
    try:
        await run(["cp", "--archive", "--", what, str(target)], inf)
    except errors.RuntimeError as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise errors.RuntimeError(f"what the image has there cannot be copied: {error}") from None


def _size_bytes(directory: Path) -> int:
    total = 0
    for parent, _, files in os.walk(directory):
        for path in (parent, *(os.path.join(parent, each) for each in files)):
            try:
                total += os.lstat(path).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
