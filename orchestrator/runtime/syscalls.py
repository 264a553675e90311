"""The system calls that Python has no function for. All raise OSError.

Numbers from 424 on are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
RESOLVE_IN_ROOT = 0x10
IN_MOVED_TO = 0x80

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOUNT_ATTR_IDMAP = 0x00100000
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_STATUS_OFFSET = 60

_libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, path: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *([path] if path else []))
    return result


def unshare(flags: int) -> None:
    _done(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    _done(_libc.setns(fd, kind))


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    arguments = (os.fsencode(text) or None for text in (source, target, kind))
    _done(_libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None), target)


def unmount(target: str, flags: int = 0) -> None:
    _done(_libc.umount2(os.fsencode(target), flags), target)


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open as if `root` (a directory) were the root: no link leads out of it."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    number = ctypes.c_long(_OPENAT2)
    return _done(_libc.syscall(number, root, os.fsencode(path), how, len(how)), path)


def clone_tree(path: str) -> int:
    """A mount of the directory `path` that is nowhere yet; closing it is unmounting it."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    number = ctypes.c_long(_OPEN_TREE)
    return _done(_libc.syscall(number, _AT_FDCWD, os.fsencode(path), flags), path)


def map_owners(mounted: int, user_namespace: int) -> None:
    """Show the files of a mount by `clone_tree` as owned by whom the namespace maps them to."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    number = ctypes.c_long(_MOUNT_SETATTR)
    size = ctypes.c_size_t(len(attributes))
    _done(_libc.syscall(number, mounted, b"", _AT_EMPTY_PATH, attributes, size))


def put_mount(mounted: int, target: str) -> None:
    """Attach a mount by `clone_tree` where it is to be seen."""
    arguments = (mounted, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _done(_libc.syscall(ctypes.c_long(_MOVE_MOUNT), *arguments), target)


def exit_status(pidfd: int) -> int | None:
    """As waitpid gives it, of a process that has been reaped by whomever, since Linux 6.15."""
    answer = bytearray(64)
    struct.pack_into("Q", answer, 0, _PIDFD_INFO_EXIT)
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, answer)
    if not struct.unpack_from("Q", answer)[0] & _PIDFD_INFO_EXIT:
        return None
    return int(struct.unpack_from("i", answer, _EXIT_STATUS_OFFSET)[0])


def inotify() -> int:
    return _done(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def watch(inotify_fd: int, path: str, events: int) -> int:
    return _done(_libc.inotify_add_watch(inotify_fd, os.fsencode(path), events), path)


def unwatch(inotify_fd: int, number: int) -> None:
    _done(_libc.inotify_rm_watch(inotify_fd, number))
