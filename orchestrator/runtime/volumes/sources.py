"""Paths of others: one of the node that a workload names, and one inside an image.

Both may be changed by somebody else at any moment, between a look and the mount. So each is opened
once, and what was opened is judged, mounted and copied: a link that is put in its place later leads
nobody anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime import syscalls


def open_allowed(path: str, allowed: Collection[Path]) -> tuple[int, Path]:
    """A node's path, open with O_PATH, and what it really is: at or below one of `allowed`, after
    every link has been followed. Raises `RuntimeError` if it is not, or not there."""
    if not allowed:
        raise errors.RuntimeError(
            f"this node lets no workload have {path}: start its agent with --allow-bind, or place"
            " the workload on a node that allows it"
        )
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise errors.RuntimeError(
            f"{path} cannot be opened on this node ({error.strerror}): create it, or place the"
            " workload where it is"
        ) from None
    real = Path(os.readlink(f"/proc/self/fd/{fd}"))
    roots = [Path(os.path.realpath(each)) for each in allowed]
    if any(real == root or root in real.parents for root in roots):
        return fd, real
    os.close(fd)
    meant = f"{path}, which is {real}" if str(real) != path.rstrip("/") else path
    raise errors.RuntimeError(
        f"this node does not let workloads have {meant}: it allows"
        f" {', '.join(map(str, allowed))} (--allow-bind)"
    )


def open_in_root(root: Path, path: str) -> int | None:
    """A directory of an image, open with O_PATH. Its links lead nowhere outside of `root`. None if
    there is no such directory; other `OSError`s pass."""
    parent = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syscalls.open_in_root(parent, path, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(parent)
