"""Devices of the node, as a container may have them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors
from orchestrator.model.container import Device

NOT_GIVEN = frozenset({"pts", "shm", "mqueue", "fd", "console", "ptmx", "tty"})
"""What every container has of its own below /dev."""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """`kind` is `c` or `b`."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int
    gid: int
    access: str


def device_nodes(devices: Iterable[Device]) -> tuple[DeviceNode, ...]:
    """Raises `RuntimeError` for a path that is no device of this node."""
    return tuple(_checked(each) for each in devices)


def all_device_nodes(root: Path = Path("/dev")) -> tuple[DeviceNode, ...]:
    """For a privileged container."""
    return tuple(_walk(root, depth=0))


def _walk(directory: Path, depth: int) -> Iterator[DeviceNode]:
    for entry in sorted(os.scandir(directory), key=lambda each: each.name):
        if (depth == 0 and entry.name in NOT_GIVEN) or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), depth + 1)
        elif (node := _node(entry.path, "rwm")) is not None:
            yield node


def _checked(device: Device) -> DeviceNode:
    try:
        node = _node(device.path, device.access)
    except OSError as failure:
        raise errors.RuntimeError(
            f"device {device.path} cannot be found on this node ({failure.strerror}): correct"
            " `devices`, or place it where that is"
        ) from failure
    if node is None:
        raise errors.RuntimeError(f"{device.path} is no device: mount it as a volume instead")
    return node


def _node(path: str, access: str) -> DeviceNode | None:
    found = os.stat(path)
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        return None
    return DeviceNode(
        path,
        "c" if stat.S_ISCHR(found.st_mode) else "b",
        os.major(found.st_rdev),
        os.minor(found.st_rdev),
        stat.S_IMODE(found.st_mode),
        found.st_gid,
        access,
    )
