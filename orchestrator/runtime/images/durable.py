"""Writing so that after a crash, of the machine too, there is the old or the new, and no third."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.programs import Programs

LIMIT_SECONDS = 600.0


def write_durably(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.new")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """What was created, renamed or deleted in it is so for good."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def sync_file_system(path: Path, programs: Programs) -> None:
    """All that was written to the file system that `path` is on. Raises `RuntimeError`."""
    program = shutil.which("sync", path=programs.path) or "sync"
    try:
        ended = await programs.run([program, "--file-system", str(path)], b"", LIMIT_SECONDS)
    except (TimeoutError, OSError) as error:
        raise errors.RuntimeError(
            f"the disk of {path} is not in sync: {error or 'timeout'}"
        ) from None
    if ended.status:
        raise errors.RuntimeError(ended.complaint or f"the disk of {path} is not in sync")
