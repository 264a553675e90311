"""The log of a container, over the files that conmon writes one after the other.

conmon writes to `log`. When that is full it starts `log.tmp` and renames it to `log`, which drops
what was there, unless the file has a second name: that is `log.<n>`, a hard link made here. So the
agent only has to give each new file its name in time, which the kernel tells it of; readers see
numbered files alone, as those of a plain process. The newest number and `log` are one file.

A number that is left out stands for files that got no name in time: a line that began in one of
them does not go on in the next. While no agent is there, one file keeps its number and the last one
is `log`: what a container writes costs no more disk than it may, and what was between is lost.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.runtime import syscalls
from orchestrator.runtime.supervisor.log import log_numbers

CAUGHT = "log.caught"
OVERFLOW = -1

EVENT = struct.Struct("iIII")
"""inotify(7): the watch, what happened, a cookie and the length of the name that follows."""


def begin_log(directory: Path) -> None:
    """Raises OSError."""
    os.close(os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    os.link(directory / "log", directory / "log.1")


class LogWatch:
    """Names the files of all containers that are followed, as they come."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._fd = syscalls.inotify()
        self._directories: dict[int, Path] = {}
        asyncio.get_running_loop().add_reader(self._fd, self._name_what_has_come)

    def follow(self, directory: Path) -> int:
        """A number for `unfollow`. Raises OSError."""
        number = syscalls.watch(self._fd, str(directory), syscalls.IN_MOVED_TO)
        self._directories[number] = directory
        self._name_last(directory)
        return number

    def unfollow(self, number: int) -> None:
        """What was written last has its name afterwards."""
        if number in self._directories:
            self._name_what_has_come()
            directory = self._directories.pop(number)
            with suppress(OSError):
                syscalls.unwatch(self._fd, number)
            self._name_last(directory)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _name_what_has_come(self) -> None:
        """conmon may go on to yet another file while we look. Each one that it has gone on to by
        the time that we have hold of one counts: rather a number too many than one too few."""
        counts = self._replaced()
        while counts:
            caught = [number for number in counts if self._catch(self._directories.get(number))]
            later = self._replaced()
            for number in caught:
                _name(self._directories[number], counts[number] + later[number], self._keep)
            counts = later

    def _name_last(self, directory: Path) -> None:
        """Of files that nobody has counted."""
        if self._catch(directory):
            _name(directory, 2, self._keep)

    def _catch(self, directory: Path | None) -> bool:
        """Keep the file that is written now, unless it has its number already."""
        if directory is None:
            return False
        with suppress(OSError):  # a full disk costs lines, never the container
            newest = max(log_numbers(str(directory)), default=0)
            current = os.stat(directory / "log")
            named = directory / f"log.{newest}"
            if not (named.exists() and os.path.samestat(current, named.stat())):
                (directory / CAUGHT).unlink(missing_ok=True)
                os.link(directory / "log", directory / CAUGHT)
                return True
        return False

    def _replaced(self) -> Counter[int]:
        """How often each `log` has been since we last asked, by its watch."""
        try:
            return _counted(os.read(self._fd, 64 * 1024), self._directories)
        except BlockingIOError:
            return Counter()


def _name(directory: Path, steps: int, keep: int) -> None:
    with suppress(OSError):
        numbers = log_numbers(str(directory))
        newest = numbers[-1] if numbers else 0
        (directory / CAUGHT).rename(directory / f"log.{newest + steps}")
        for number in numbers[: max(0, len(numbers) + 1 - keep)]:
            (directory / f"log.{number}").unlink()


def _counted(events: bytes, watches: Iterable[int]) -> Counter[int]:
    found: Counter[int] = Counter()
    offset = 0
    while offset < len(events):
        number, _, _, length = EVENT.unpack_from(events, offset)
        offset += EVENT.size
        if number == OVERFLOW:
            found.update(dict.fromkeys(watches, 2))
        elif events[offset : offset + length].rstrip(b"\0") == b"log":
            found[number] += 1
        offset += length
    return found
