"""Asking a container's first process to end, when it can hear that.

To the first process of a pid namespace a signal that it does not handle does not come, and one that
has just been started may not handle it yet. Before that, until it has become its own program, its
signals go to the runtime's, which would end and leave an exit code that says nothing.
"""

from __future__ import annotations

import asyncio
import os

from orchestrator.runtime.oci.children import Process

LOOK_AGAIN_SECONDS = 0.05

ProgramFile = tuple[int, int]
"""Device and inode."""


class Asking:
    """`runtime` is the program that the process was while it waited to be started; None: it has
    long been its own."""

    def __init__(self, process: Process, pid: int, runtime: ProgramFile | None) -> None:
        self._process = process
        self._pid = pid
        self._runtime = runtime
        self._again: asyncio.TimerHandle | None = None

    def ask(self, number: int) -> None:
        """Send a signal, and again until it is heard. `cancel` before the process is let go of."""
        self.cancel()
        has_begun = self._runtime is None or program_of(self._pid) != self._runtime
        is_heard = has_begun and _hears(self._pid, number)
        if has_begun:
            self._process.send(number)
        if not is_heard:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(LOOK_AGAIN_SECONDS, self.ask, number)

    def cancel(self) -> None:
        if self._again is not None:
            self._again.cancel()


def program_of(pid: int) -> ProgramFile | None:
    """None if it is gone."""
    try:
        found = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _hears(pid: int, number: int) -> bool:
    """Whether a process handles a signal now, or will when it asks for it (`sigwait`)."""
    try:
        with open(f"/proc/{pid}/status") as file:
            masks = [line.split()[1] for line in file if line.startswith(("SigCgt:", "SigBlk:"))]
    except OSError:
        return False
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
