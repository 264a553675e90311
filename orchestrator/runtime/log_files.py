"""Reading a container's log: over numbered files, from the start or the end, while it grows.

The files and their line format are described in `supervisor.log`.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, closing
from pathlib import Path

from orchestrator.runtime.protocol import LogLine, LogQuery
from orchestrator.runtime.supervisor.log import log_numbers, rfc3339

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 1024 * 1024
"""A longer line comes in several."""

_ENTRY = re.compile(rb"(\S{35}) (stdout|stderr) ([FP]) (.*)", re.DOTALL)
_WHOLE_LINE = re.compile(rb"^\S{35} std(?:out|err) F ", re.MULTILINE)


class LogReader:
    """Reads whole lines from a position on, and goes on to the next file where one ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rest = b""
        self._pieces: dict[str, list[bytes]] = {}
        self._times: dict[str, str] = {}
        self._number, self._fd = 0, -1

    @property
    def place(self) -> tuple[int, int]:
        """What is read next: the number of a file, and the offset in it."""
        return self._number, os.lseek(self._fd, 0, os.SEEK_CUR) if self._fd >= 0 else 0

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
        is_gap = following != self._number + 1
        self._open(following)
        return list(self.unfinished()) if is_gap else []

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

    def seek_last_block(self) -> None:
        """Go to where one `read` gives all that is left of the newest file."""
        for number in self._numbers()[-1:]:
            self._open(number, max(0, self._size(number) - BLOCK_BYTES))

    async def seek(self, lines: int) -> tuple[int, int]:
        """Go to a place with at least so many lines behind it. Returns where the end is now."""
        numbers = self._numbers()
        end = (numbers[-1], self._size(numbers[-1])) if numbers else (0, 0)
        for number in reversed(numbers):
            offset = self._size(number)
            self._open(number)
            while offset > 0 and self._fd >= 0:
                begin = max(0, offset - BLOCK_BYTES)
                block = os.pread(self._fd, offset - begin, begin)
                lines -= len(_WHOLE_LINE.findall(block))
                if lines < 0:
                    os.lseek(self._fd, begin, os.SEEK_SET)
                    return end
                offset = begin
                await asyncio.sleep(0)
        return end

    def _size(self, number: int) -> int:
        """0 for one that was rotated away meanwhile."""
        try:
            return (self._directory / f"log.{number}").stat().st_size
        except FileNotFoundError:
            return 0

    def _open(self, number: int, offset: int = 0) -> None:
        self.close()
        self._number = number
        try:
            self._fd = os.open(self._directory / f"log.{number}", os.O_RDONLY)
        except FileNotFoundError:
            return  # rotated away since: the next read goes on to what is left
        os.lseek(self._fd, offset, os.SEEK_SET)


def last_line(directory: Path, stream: str) -> str:
    """What was last written to `stream`, as far as the log's last block tells; else empty."""
    with closing(LogReader(directory)) as reader:
        reader.seek_last_block()
        lines = [*(reader.read() or ()), *reader.unfinished()]
    texts = (line.text.strip() for line in reversed(lines) if line.stream == stream)
    return next(filter(None, texts), "")


async def read_log(
    directory: Path, query: LogQuery, wait: Callable[[], Awaitable[bool]] | None = None
) -> AsyncGenerator[LogLine, None]:
    """`wait` pauses a little while more lines may come, and says whether they still may. Without
    it nothing is to come."""
    since = first_time(query)
    async with aclosing(_lines(directory, query, wait)) as lines:
        async for line in lines:
            if line.time >= since:  # both in UTC and of one length: they sort as text
                yield line


def first_time(query: LogQuery) -> str:
    """That of the first line asked for, as lines have it; empty: any. It is cut to microseconds,
    for of seconds since 1970 a float knows no more."""
    return "" if query.since is None else rfc3339(math.floor(query.since * 1e6) * 1000)


async def _lines(
    directory: Path, query: LogQuery, wait: Callable[[], Awaitable[bool]] | None
) -> AsyncGenerator[LogLine, None]:
    """Of any time."""
    reader = LogReader(directory)
    may_grow = query.follow and wait is not None
    try:
        if query.tail is not None:
            for line in await _last(reader, query.tail, with_unfinished=not may_grow):
                yield line
            if not may_grow:
                return  # what has been written meanwhile would be more than was asked for
        while may_grow and wait is not None:
            async for line in _available(reader):
                yield line
            may_grow = await wait()
        async for line in _available(reader):
            yield line
        for line in reader.unfinished():
            yield line
    finally:
        reader.close()


async def _last(reader: LogReader, count: int, *, with_unfinished: bool) -> Iterable[LogLine]:
    """The last lines before what is the end now: more may come faster than it can be read."""
    last: deque[LogLine] = deque(maxlen=count)
    end = await reader.seek(count)
    while reader.place < end and (block := reader.read()) is not None:
        last.extend(block)
        await asyncio.sleep(0)  # a long log must not hold up everything else
    if with_unfinished:
        last.extend(reader.unfinished())
    return last


async def _available(reader: LogReader) -> AsyncGenerator[LogLine, None]:
    while (block := reader.read()) is not None:
        for line in block:
            yield line
        await asyncio.sleep(0)
