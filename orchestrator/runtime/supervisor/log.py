"""The log of a container, as its supervisor writes it."""

import os
import time


class Log:
    """Numbered files `log.<n>` in CRI's line format; the highest number is being written.

    `2026-11-22T11:05:07.557878762+00:00 stdout F text`. What is not a whole line yet is written
    at once, marked P, and its stream's next piece continues it: nothing waits in memory.
    A full disk costs lines, never the container.
    """

    def __init__(self, limit_bytes: int, limit_files: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_files = limit_files
        self._numbers = log_numbers(".") or [1]
        self._lost_bytes = 0
        self._open()

    def write(self, stream: str, chunk: bytes) -> None:
        begin = f"{rfc3339(time.time_ns())} {stream} ".encode()
        lines = chunk.split(b"\n")
        unfinished = lines.pop()
        entries = [b"%sF %s\n" % (begin, line) for line in lines]
        if unfinished:
            entries.append(b"%sP %s\n" % (begin, unfinished))
        if self._lost_bytes:
            told = b"[%d bytes of output were lost: the disk was full]" % self._lost_bytes
            entries.insert(0, b"%sF %s\n" % (begin, told))
        self._append_rotating(entries)

    def _append_rotating(self, entries: list[bytes]) -> None:
        batch: list[bytes] = []
        size = self._size
        for entry in entries:
            if size and size + len(entry) > self._limit_bytes:
                self._append(b"".join(batch))
                self._rotate()
                batch, size = [], self._size
            batch.append(entry)
            size += len(entry)
        self._append(b"".join(batch))

    def _append(self, entries: bytes) -> None:
        rest = memoryview(entries)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            self._lost_bytes += len(entries)
        else:
            self._size += len(entries)
            self._lost_bytes = 0

    def _rotate(self) -> None:
        old = self._fd
        self._numbers.append(self._numbers[-1] + 1)
        try:
            self._open()
        except OSError:
            self._numbers.pop()
            return
        os.close(old)
        while len(self._numbers) > self._limit_files:
            _delete(f"log.{self._numbers.pop(0)}")

    def _open(self) -> None:
        name = f"log.{self._numbers[-1]}"
        self._fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size


def _delete(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:
        return  # somebody did it, or forbade it: no reason to lose an exit code


def log_numbers(directory: str) -> list[int]:
    """The numbers of the log files in a container's directory, oldest first."""
    names = os.listdir(directory)
    return sorted(int(name[4:]) for name in names if name.startswith("log.") and name[4:].isdigit())


def rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}+00:00"
