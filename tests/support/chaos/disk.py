"""A small disk of its own under a directory, to be filled to the last byte. Only root may."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"
BLOCK_BYTES = 4096


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self._ballast = path / BALLAST

    def fill(self) -> None:
        """Until not one more block is free; only what is deleted makes room again."""
        with self._ballast.open("ab", buffering=0) as ballast:
            room = os.statvfs(self._ballast)
            size = room.f_bavail * room.f_frsize
            while size >= BLOCK_BYTES:
                if not _grow(ballast.fileno(), size):  # others write there too
                    size //= 2

    def make_room(self) -> None:
        self._ballast.unlink(missing_ok=True)


def _grow(file: int, size: int) -> bool:
    """False when there is not so much room."""
    try:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    except OSError as refused:
        if refused.errno != errno.ENOSPC:
            raise
        return False
    return True


@contextmanager
def small_disk(path: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mounted at `path` until the block ends, when nothing may use it any more."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mb}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
