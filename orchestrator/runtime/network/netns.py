"""Network namespaces with a name: each is kept by a file that it is mounted on.

None of it takes a process: `ip netns add` costs three times as much.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def create_anew(path: Path) -> None:
    """A namespace with its loopback interface up, in place of what is there. Blocks for a
    millisecond. Raises OSError."""
    remove(path)
    _in_passing(lambda: _create(path))


def inside(path: Path, work: Callable[[], None]) -> None:
    """Do it in this namespace, and wait for it. Raises what `work` raises of OSError."""

    def enter() -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.setns(fd, _CLONE_NEWNET))
        finally:
            os.close(fd)
        work()

    _in_passing(enter)


def _in_passing(work: Callable[[], None]) -> None:
    """In a thread that ends: in another namespace it can be of no more use here."""
    failures: list[OSError] = []

    def attempt() -> None:
        try:
            work()
        except OSError as failure:
            failures.append(failure)

    thread = threading.Thread(target=attempt, name="network-namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400))
    _checked(_libc.unshare(_CLONE_NEWNET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
    target = os.fsencode(path)
    _checked(_libc.mount(b"/proc/thread-self/ns/net", target, None, _MS_BIND, None))


def exists(path: Path) -> bool:
    """Whether a namespace is mounted there; a mere file is what a reboot or a crash has left."""
    try:
        return path.stat().st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


def remove(path: Path) -> None:
    """Nothing happens if it is gone. Takes microseconds. Raises OSError.

    Deleting the file takes the mount out of all mount namespaces that were copied meanwhile. The
    kernel takes the namespace apart in its own time, many at once.
    """
    with suppress(FileNotFoundError):
        flags = _MNT_DETACH | _UMOUNT_NOFOLLOW
        if _libc.umount2(os.fsencode(path), flags) != 0 and ctypes.get_errno() != errno.EINVAL:
            _fail()
        path.unlink()


def _checked(result: int) -> None:
    if result != 0:
        _fail()


def _fail() -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
