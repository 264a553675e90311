"""The user namespace by which images are shown to containers that have one of their own.

Files of an image belong to the users that it names. In a container whose root is another user of
the node they must seem to belong to that one: the kernel does it for a mount, by a user namespace
that says who is whom (mount_setattr(2), for layers of overlayfs since Linux 5.19).
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.oci.children import spawn

IDS = 65_536
"""How many users a namespace has."""

UNSHARED_SECONDS = 10.0


@cache
def user_namespace(first_id: int) -> int:
    """An open namespace whose root is the node's user `first_id`. Blocks for some milliseconds.

    Raises `RuntimeError` where it cannot be made.
    """
    try:
        return _made(first_id)
    except OSError as failure:
        raise errors.RuntimeError(
            f"this node has no user namespaces to give ({failure}): place the workload elsewhere,"
            " or leave out `user_namespace`"
        ) from failure


def _made(first_id: int) -> int:
    """A namespace lives as long as somebody has it open; only a process can make one."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        child = spawn(["/usr/bin/unshare", "--user", "sleep", "60"], stdout=nothing, stderr=nothing)
    finally:
        os.close(nothing)
    process = Path(f"/proc/{child.pid}")
    try:
        _until_unshared(process)
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {first_id} {IDS}\n")
        return os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.send(signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.close()


def _until_unshared(process: Path) -> None:
    ours = os.readlink("/proc/self/ns/user")
    deadline = time.monotonic() + UNSHARED_SECONDS
    while os.readlink(process / "ns/user") == ours:
        if time.monotonic() > deadline:
            raise TimeoutError("unshare --user does nothing")
        time.sleep(0.001)
