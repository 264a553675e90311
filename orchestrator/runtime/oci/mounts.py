"""What is mounted in a container besides its root and its volumes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.runtime.protocol import Isolation

OWN_FILES = ("hosts", "hostname", "resolv.conf")
"""Of /etc: written by us into the container's directory below /run."""

SHARED_MEMORY = "shm"
"""In a container's directory: where the /dev/shm of another is mounted."""


def mount(kind: str, destination: str, *options: str, source: str | None = None) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": source or kind,
        "options": list(options),
    }


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return mount("bind", destination, "rbind", "rprivate", *options, source=str(source))


def usual_mounts(
    isolation: Isolation, directory: Path, *, shares_memory: bool, has_user_namespace: bool
) -> Iterator[dict[str, Any]]:
    """The kernel's file systems, and our own files over the image's.

    In a user namespace that does not own its network's namespace /sys cannot be mounted, so there
    it is the node's.
    """
    is_privileged = isolation.config.security.privileged
    yield mount("proc", "/proc", "nosuid", "noexec", "nodev")
    yield mount("tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=65536k")
    pts = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    yield mount("devpts", "/dev/pts", "nosuid", "noexec", *pts)
    yield from _ipc(directory / SHARED_MEMORY if shares_memory else None)
    access = "rw" if is_privileged else "ro"
    if has_user_namespace:
        yield bind("/sys", "/sys", "nosuid", "noexec", "nodev", access)
    else:
        yield mount("sysfs", "/sys", "nosuid", "noexec", "nodev", access)
        yield mount("cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "relatime", access)
    flags = ["nosuid", "noexec", "nodev"]  # as /run has them: in a user namespace none may go
    if isolation.config.security.read_only_root:
        flags.append("ro")
    for name in OWN_FILES:
        yield bind(directory / name, f"/etc/{name}", *flags)


def _ipc(memory: Path | None) -> Iterator[dict[str, Any]]:
    """Shared memory is a file system: who shares the namespace must see the same one."""
    flags = ("nosuid", "noexec", "nodev")
    if memory is None:
        yield mount("tmpfs", "/dev/shm", *flags, "mode=1777", "size=65536k")
    else:
        yield bind(memory, "/dev/shm", *flags)
    yield mount("mqueue", "/dev/mqueue", *flags)
