"""A program on a terminal of its own: what it shows there can be read, and Ctrl-C be typed."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

CTRL_C = b"\x03"
SIZE = (50, 160)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CHUNK_BYTES = 65_536


class Terminal(AbstractContextManager["Terminal"]):
    """`shown` is all that was read so far, as plain text. A program still there at the end is
    killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, SIZE)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # only who owns the terminal hears its Ctrl-C
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def fileno(self) -> int:
        return self._master

    def resize(self, rows: int, columns: int) -> None:
        """As a window does."""
        termios.tcsetwinsize(self._master, (rows, columns))

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, pattern: str, within_seconds: float) -> None:
        """Raises `AssertionError` if the program does not show that."""
        deadline = time.monotonic() + within_seconds
        while not re.search(pattern, self.shown):
            assert self._read(deadline), f"not shown: {pattern}\nbut:\n{self.shown}"

    def read_to_the_end(self, within_seconds: float) -> int:
        """The exit code."""
        deadline = time.monotonic() + within_seconds
        while self._read(deadline):
            continue
        return self.process.wait(max(0.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """False when there is nothing more, or not in time."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            text = os.read(self._master, CHUNK_BYTES).decode(errors="replace")
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self.shown = ESCAPES.sub("", self.shown + text)
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
