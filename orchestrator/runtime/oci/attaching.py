"""The streams of a running container, at the socket that its conmon serves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.commands import END_OF_INPUT
from orchestrator.runtime.oci.container import OciContainer

PIECE_BYTES = 8 * 1024
"""conmon cuts off what is longer than its buffer."""

FRAME_BYTES = 64 * 1024
STREAMS = {2: "stdout", 3: "stderr"}


async def attach(container: OciContainer) -> Attached:
    """Raises `RuntimeError` if its conmon does not answer."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        _connect(end, container.place.run)
    except OSError as failure:
        end.close()
        raise errors.RuntimeError(
            f"{container.status.spec.id} cannot be attached to: its supervisor does not answer"
            f" ({failure.strerror}); look at its log"
        ) from failure
    return Attached(container, end)


def _connect(end: socket.socket, directory: Path) -> None:
    """By way of the open directory: the name of a socket must be shorter than 108 bytes."""
    opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end.connect(f"/proc/self/fd/{opened}/attach")
    finally:
        os.close(opened)


class Attached:
    """`Streams` of a container itself."""

    def __init__(self, container: OciContainer, end: socket.socket) -> None:
        self._container = container
        self._end = end

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        loop = asyncio.get_running_loop()
        while frame := await self._received(loop):
            if (stream := STREAMS.get(frame[0])) is not None and len(frame) > 1:
                yield stream, frame[1:]

    async def write(self, piece: bytes) -> None:
        """Raises `RuntimeError` if it has no standard input."""
        isolation = self._container.status.spec.isolation
        if isolation is None or not (isolation.config.stdin or isolation.config.tty):
            raise errors.RuntimeError(
                f"{self._container.status.spec.id} has no standard input: give it `stdin: true`, or"
                " attach to it without"
            )
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError, BrokenPipeError):
            for begin in range(0, len(piece), PIECE_BYTES):
                await loop.sock_sendall(self._end, piece[begin : begin + PIECE_BYTES])

    async def end_input(self) -> None:
        """Only a terminal's, by Ctrl-D: any other stays open for whoever attaches next."""
        if self._has_terminal:
            await self.write(END_OF_INPUT)

    async def resize(self, rows: int, columns: int) -> None:
        """By conmon's FIFO `ctl`, which it reads if it is there."""
        if not self._has_terminal:
            return
        with suppress(OSError):
            path = self._container.place.run / "ctl"
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fd, f"1 {rows} {columns}\n".encode())
            finally:
                os.close(fd)

    async def exit_code(self) -> int | None:
        await self._container.ended.wait()
        return self._container.status.exit_code

    async def close(self) -> None:
        self._end.close()

    @property
    def _has_terminal(self) -> bool:
        isolation = self._container.status.spec.isolation
        return isolation is not None and isolation.config.tty

    async def _received(self, loop: asyncio.AbstractEventLoop) -> bytes:
        try:
            return await loop.sock_recv(self._end, FRAME_BYTES)
        except OSError:
            return b""
