"""A container's root: its image's layers under a directory of its own, by overlayfs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime import syscalls
from orchestrator.runtime.oci.place import OciDir
from orchestrator.runtime.oci.user_namespaces import user_namespace

MAX_LAYERS = 500
"""overlayfs takes no more."""


def prepare_root(place: OciDir, layers: Sequence[Path]) -> None:
    """Make, in a container's directories, all that `mount_root` needs. Raises OSError."""
    if len(layers) > MAX_LAYERS:
        raise errors.RuntimeError(
            f"its image has {len(layers)} layers, and the kernel takes {MAX_LAYERS}: squash it"
        )
    for name in ("rootfs", "l"):
        (place.run / name).mkdir(exist_ok=True)
    for name in ("upper", "work"):
        (place.path / name).mkdir(exist_ok=True)
        (place.run / name).symlink_to(place.path / name)
    (place.path / "upper").chmod(0o755)  # what the root directory has, whatever our umask
    for number, layer in enumerate(layers):
        (place.run / "l" / str(number)).symlink_to(layer)


def prepare_mapped_root(place: OciDir, layers: Sequence[Path], first_id: int) -> None:
    """The same for a container whose root is the node's user `first_id`, in the mount namespace of
    this thread. Raises `RuntimeError`, and OSError."""
    prepare_root(place, ())
    for name in ("upper", "work"):
        os.chown(place.path / name, first_id, first_id)
    for number, layer in enumerate(layers):
        target = place.run / "l" / str(number)
        target.mkdir()
        mounted = syscalls.clone_tree(str(layer))
        try:
            syscalls.map_owners(mounted, user_namespace(first_id))
            syscalls.put_mount(mounted, str(target))
        except OSError as failure:
            raise errors.RuntimeError(
                f"this node cannot map the owners of an image's files ({failure.strerror}): place"
                " the workload elsewhere, or leave out `user_namespace`"
            ) from failure
        finally:
            os.close(mounted)


def mount_root(place: OciDir, layer_count: int) -> Path:
    """Mount it, in the mount namespace of this thread. Raises OSError.

    mount(2) takes options of 4096 bytes at most, and commas and colons mean something there. So
    all is named by short links, from the working directory, which the thread has for itself.
    """
    root = place.run / "rootfs"
    os.chdir(place.run)
    names = ":".join(f"l/{number}" for number in range(layer_count))
    options = f"lowerdir={names},upperdir=upper,workdir=work"
    syscalls.mount("overlay", str(root), "overlay", 0, options)
    return root


def make_directory(root: Path, path: str) -> None:
    """As root's, with what leads to it, if it is not there; a link leads nowhere outside of `root`.

    Runtimes differ over a working directory that is missing. Raises OSError.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        done = "."
        for part in Path(os.path.normpath(path)).relative_to("/").parts:
            _make_below(top, done, part)
            done = f"{done}/{part}"
    finally:
        os.close(top)


def _make_below(top: int, parent: str, name: str) -> None:
    opened = syscalls.open_in_root(top, parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=opened)
    finally:
        os.close(opened)


def detached(root: Path) -> int:
    """The same, open: it stays when this mount namespace goes. Raises OSError."""
    return syscalls.clone_tree(str(root))


def shared_memory(pid: int) -> int:
    """The /dev/shm of a running container, open: by way of its mount namespace, which this thread
    is in afterwards. Raises OSError."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
    finally:
        os.close(namespace)
    return syscalls.clone_tree("/dev/shm")


def attach(mounted: int, directory: Path, seen: Path) -> None:
    """Put it where the runtime is to find it, in the mount namespace of this thread: below `seen`,
    where the container's directory is seen as well. Root in a user namespace can get there, and
    could not into the agent's own directories."""
    syscalls.mount(str(directory), str(seen), "", syscalls.MS_BIND, "")
    syscalls.put_mount(mounted, str(seen / "rootfs"))
