"""Reading a container's log: over numbered files, from the start or the end, while it grows.

The files and their line format are described in `supervisor.log`.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from itertools import chain
from pathlib import Path

from orchestrator.runtime.protocol import LogLine
from orchestrator.runtime.supervisor.log import log_numbers

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024
"""A longer line comes in several."""

_ENTRY = re.compile(rb"(\S{35}) (stdout|stderr) ([FP]) (.*)", re.DOTALL)
_WHOLE_LINE = re.compile(rb"^\S{35} std(?:out|err) F ", re.MULTILINE)


class LogReader:
    """Reads whole lines from a position on, and goes on to the next file where one ends."""

    def __init__(self, directory: Path, tail: int | None = None) -> None:
        self._directory = directory
        self._rest = b""
        self._pieces: dict[str, list[bytes]] = {}
        self._times: dict[str, str] = {}
        self._number, self._fd = 0, -1
        if tail is not None:
            self._seek(tail)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> list[LogLine] | None:
        """The lines of the next block; None at the end of what is there."""
        following = self._following()  # before reading: see the note on rotation below
        block = os.read(self._fd, BLOCK_BYTES) if self._fd >= 0 else b""
        if block:
            *entries, self._rest = (self._rest + block).split(b"\n")
            return [line for entry in entries if (line := self._join(entry))]
        if following is None:
            return None
        # The supervisor writes to a file no more once the next one is there. So the old file,
        # found empty after the new one was seen, has been read to its end.
        self._open(following)
        return []

    def lines(self) -> Iterator[LogLine]:
        """All that is there now."""
        while (block := self.read()) is not None:
            yield from block

    def unfinished(self) -> Iterator[LogLine]:
        """What was written without a newline at the end."""
        for stream in sorted(self._pieces):
            yield self._flush(stream)

    def _join(self, entry: bytes) -> LogLine | None:
        if (match := _ENTRY.fullmatch(entry)) is None:
            return None
        time, stream, tag, text = match[1].decode(), match[2].decode(), match[3], match[4]
        pieces = self._pieces.setdefault(stream, [])
        pieces.append(text)
        self._times.setdefault(stream, time)
        if tag == b"P" and sum(map(len, pieces)) < MAX_LINE_BYTES:
            return None
        return self._flush(stream)

    def _flush(self, stream: str) -> LogLine:
        text = b"".join(self._pieces.pop(stream)).decode(errors="replace")
        return LogLine(self._times.pop(stream), stream, text)

    def _following(self) -> int | None:
        return next((number for number in self._numbers() if number > self._number), None)

    def _numbers(self) -> list[int]:
        try:
            return log_numbers(str(self._directory))
        except FileNotFoundError:
            return []  # removed, while we read the last of it

    def _open(self, number: int, offset: int = 0) -> None:
        self.close()
        self._number = number
        try:
            self._fd = os.open(self._directory / f"log.{number}", os.O_RDONLY)
        except FileNotFoundError:
            return  # rotated away since: the next read goes on to what is left
        os.lseek(self._fd, offset, os.SEEK_SET)

    def _seek(self, lines: int) -> None:
        """Go to a place with at least so many lines behind it, looking from the end."""
        wanted = lines
        for number in reversed(self._numbers()):
            self._open(number)
            offset = os.fstat(self._fd).st_size if self._fd >= 0 else 0
            while offset > 0:
                begin = max(0, offset - BLOCK_BYTES)
                block = os.pread(self._fd, offset - begin, begin)
                wanted -= len(_WHOLE_LINE.findall(block))
                if wanted < 0:
                    os.lseek(self._fd, begin, os.SEEK_SET)
                    self._rest = b""
                    return
                offset = begin


async def read_log(
    directory: Path,
    *,
    tail: int | None,
    follow: bool,
    wait: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[LogLine, None]:
    """`wait` pauses a little while more lines may come, and says whether they still may."""
    reader = LogReader(directory, tail)
    try:
        if tail is not None:
            lines = reader.lines() if follow else chain(reader.lines(), reader.unfinished())
            for line in deque(lines, maxlen=tail):
                yield line
            if not follow:
                return  # what has been written meanwhile would be more than was asked for
        may_grow = follow
        while may_grow:
            async for line in _available(reader):
                yield line
            may_grow = await wait()
        async for line in _available(reader):
            yield line
        for line in reader.unfinished():
            yield line
    finally:
        reader.close()


async def _available(reader: LogReader) -> AsyncGenerator[LogLine, None]:
    while (block := reader.read()) is not None:
        for line in block:
            yield line
        await asyncio.sleep(0)  # a long log must not hold up everything else
