"""A command beside a container's own, as a child of the agent: pipes or a terminal, and its end.

It is killed, with all of its session and whatever else it has started, when its stream is closed
before it has ended, and when its container ends. What it leaves behind when it ends by itself
stays until the container ends.
"""

from __future__ import annotations

import asyncio
import os
import termios
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.runtime.spawning import spawn_command
from orchestrator.runtime.supervisor.launch import Launch
from orchestrator.runtime.supervisor.processes import kill_strays

CHUNK_BYTES = 64 * 1024
END_OF_INPUT = b"\x04"
"""Ctrl-D: what ends the input of a program on a terminal."""

MARK = "ORC_EXEC"
"""A variable in the environment of all that such a command starts: it tells which one's."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Our ends of a command's standard streams, which may be one terminal."""

    outputs: dict[int, str]
    input: int | None
    is_terminal: bool


def open_pipes(*, has_input: bool) -> tuple[Ends, tuple[int, int, int]]:
    """Ours, and the command's: those are to be closed once it has them."""
    its_input, our_input = os.pipe() if has_input else (os.open(os.devnull, os.O_RDONLY), None)
    (our_output, its_output), (our_errors, its_errors) = os.pipe(), os.pipe()
    ends = Ends({our_output: "stdout", our_errors: "stderr"}, our_input, is_terminal=False)
    return ends, (its_input, its_output, its_errors)


def open_terminal(rows: int, columns: int, *, has_input: bool) -> tuple[Ends, tuple[int, int, int]]:
    """Ours, and the command's: that is to be closed once it has it."""
    ours, its = os.openpty()
    termios.tcsetwinsize(ours, (rows, columns))
    return Ends({ours: "stdout"}, ours if has_input else None, is_terminal=True), (its, its, its)


class Command:
    """`Streams` of a command that is started by `start`. Close it, or it is never reaped."""

    def __init__(
        self, ends: Ends, container_ended: asyncio.Event, on_close: Callable[[Command], None]
    ) -> None:
        self.pid = 0
        self.cpu_seconds = 0.0
        """What it has used, once it is closed."""
        self._ends = ends
        self._open = dict(ends.outputs)
        self._input = ends.input
        self._container_ended = container_ended
        self._on_close = on_close
        self._mark = f"{os.getpid()}.{time.monotonic_ns()}"
        self._pidfd = -1
        self._code: int | None = None
        self._over = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        for fd in ends.outputs:
            os.set_blocking(fd, False)
        if self._input is not None:
            os.set_blocking(self._input, False)

    async def start(self, launch: Launch, standard: tuple[int, int, int]) -> tuple[str, int] | None:
        """None when it runs, else the stage and the errno at which it failed, as `outcome` tells
        them. It is to be closed in any case. Raises OSError."""
        launch.env[MARK] = self._mark
        self.pid, heard = spawn_command(launch, standard)
        try:
            self._pidfd = os.pidfd_open(self.pid)
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)
            self._watch = asyncio.create_task(self._end_with_container())
            told = await _read_to_the_end(heard)
        finally:
            os.close(heard)
        stage, _, number = told.partition(" ")
        return (stage, int(number)) if told else None

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        while self._open:
            is_over = self._over.is_set()  # before reading: all that it wrote can be read now
            was_quiet = True
            for fd, stream in list(self._open.items()):
                piece = _read(fd)
                was_quiet = was_quiet and piece is None
                if piece:
                    yield stream, piece
                elif piece == b"":
                    del self._open[fd]
            if was_quiet and is_over:
                return  # others may hold the other ends: what it has left behind
            if was_quiet:
                await self._until_readable()

    async def write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest and self._input is not None and not self._over.is_set():
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                await self._until_writable(self._input)
            except OSError:
                return  # it reads no more

    async def end_input(self) -> None:
        if self._input is None:
            return
        if self._ends.is_terminal:
            await self.write(END_OF_INPUT)
        else:
            os.close(self._input)
            self._input = None

    async def resize(self, rows: int, columns: int) -> None:
        if self._ends.is_terminal and not self._over.is_set():
            termios.tcsetwinsize(next(iter(self._ends.outputs)), (rows, columns))

    async def exit_code(self) -> int | None:
        await self._over.wait()
        return self._code

    async def close(self) -> None:
        await asyncio.shield(asyncio.create_task(self._close()))

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._pidfd >= 0:
            await self._kill()
            self._reap()
        if self._input is not None and not self._ends.is_terminal:
            os.close(self._input)
        for fd in self._ends.outputs:
            os.close(fd)
        self._on_close(self)

    async def _kill(self) -> None:
        if not self._over.is_set():
            await asyncio.to_thread(kill_strays, self.pid, f"{MARK}={self._mark}")
            await self._over.wait()

    def _reap(self) -> None:
        """Only now, so that its pid, which is its session's too, could be no stranger's."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        with suppress(ChildProcessError):
            used = os.wait4(self.pid, 0)[2]
            self.cpu_seconds = used.ru_utime + used.ru_stime

    def _on_end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None:
            is_exit = ended.si_code == os.CLD_EXITED
            self._code = ended.si_status if is_exit else 128 + ended.si_status
        self._over.set()
        self._readable.set()
        self._writable.set()

    async def _end_with_container(self) -> None:
        await self._container_ended.wait()
        await self._kill()

    async def _until_readable(self) -> None:
        """Until one of its outputs is, or it has ended."""
        if self._over.is_set():
            return
        loop, reading = asyncio.get_running_loop(), list(self._open)
        self._readable.clear()
        for fd in reading:
            loop.add_reader(fd, self._readable.set)
        try:
            await self._readable.wait()
        finally:
            for fd in reading:
                loop.remove_reader(fd)

    async def _until_writable(self, fd: int) -> None:
        """Or until it has ended."""
        loop = asyncio.get_running_loop()
        self._writable.clear()
        loop.add_writer(fd, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            loop.remove_writer(fd)


def _read(fd: int) -> bytes | None:
    """None: nothing now. Empty: nothing ever, as a terminal says by EIO."""
    try:
        return os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


async def _read_to_the_end(pipe: int) -> str:
    loop, readable, told = asyncio.get_running_loop(), asyncio.Event(), b""
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
        while piece := os.read(pipe, 64):
            told += piece
    finally:
        loop.remove_reader(pipe)
    return told.decode()
