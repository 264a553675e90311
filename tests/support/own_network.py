"""A network of one's own for a while: what makes bridges and firewall rules does it in there.

Everything that is started meanwhile, threads and processes, belongs to it; the kernel takes it
apart with all that is in it when the last of them has ended.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[None]:
    """This thread's network is a new one, with a loopback interface, until the block ends."""
    if os.geteuid() != 0:
        pytest.skip("only root may have a network namespace of its own")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _checked(_libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
