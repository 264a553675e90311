"""The user's own terminal: made raw while another one is behind it, and put right on every way out.

Standard input is read as it comes, without a thread and without making it non-blocking, which the
shell that shares it would be surprised by.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

from orchestrator.process.channels import PIECE_BYTES, Size

DEFAULT_SIZE = Size(24, 80)
DETACH_KEYS = b"\x10\x11"
"""Ctrl-P Ctrl-Q, as in docker."""

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def is_terminal() -> bool:
    """Whether standard input is one."""
    return sys.stdin.isatty()


def terminal_size() -> Size:
    try:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return DEFAULT_SIZE
    return Size(rows, columns) if rows and columns else DEFAULT_SIZE


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key goes to the body, Ctrl-C too."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def ending_in_good_order() -> Iterator[None]:
    """A signal that asks to end cancels the task of the body instead, so that what it has changed
    is put right; then it ends us, with the exit code that stands for it."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    heard: list[int] = []

    def end(number: int) -> None:
        heard.append(number)
        task.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if not heard:
            raise
        task.uncancel()
        sys.exit(128 + heard[0])
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)


@contextmanager
def hearing_of_sizes(tell: Callable[[], None]) -> Iterator[None]:
    """`tell` is called whenever the terminal's size has changed."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def typed() -> AsyncGenerator[bytes, None]:
    """Standard input in pieces, as they come, to its end."""
    fd = sys.stdin.fileno()
    while True:
        await _until_readable(fd)
        try:
            piece = os.read(fd, PIECE_BYTES)
        except OSError:
            return  # the terminal is gone
        if not piece:
            return
        yield piece


async def _until_readable(fd: int) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)
    except PermissionError:
        return  # a file: it can be read at any time
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)


class DetachKeys:
    """Finds them among what is typed, in one piece or several."""

    def __init__(self) -> None:
        self._held = b""

    def take(self, piece: bytes) -> tuple[bytes, bool]:
        """What may be passed on, and whether they have come: what follows them is dropped."""
        before, found, _ = (self._held + piece).partition(DETACH_KEYS)
        is_half = not found and before.endswith(DETACH_KEYS[:1])
        self._held = DETACH_KEYS[:1] if is_half else b""
        return before[: len(before) - len(self._held)], bool(found)
