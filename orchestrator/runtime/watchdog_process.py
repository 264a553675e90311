"""The `Watchdog` of a real node: a process of its own, which outlives the agent (`watchdog.main`).

It is started when there is something to watch, taken up again by the agent's next life, and started
anew when it has died. What it writes goes to `watchdog.log` in its directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.runtime.images.durable import write_durably
from orchestrator.runtime.spawning import python
from orchestrator.runtime.watchdog.state import (
    LOCK_FILE,
    LONG_AGO,
    NANOSECONDS,
    TRUST_BYTES,
    WARDS_FILE,
    WardLine,
    boot_number,
    open_trust,
    packed,
    unpacked,
)
from orchestrator.runtime.watching import Trace, Ward

log = structlog.get_logger()

PROGRAM = Path(__file__).resolve().with_name("watch.py")
LOG_FILE = "watchdog.log"

SILENT_SECONDS = 3.0
"""One that has not looked for so long is not at work, whatever holds it up."""
LOOK_AGAIN_SECONDS = 0.02


class WatchdogProcess:
    """Its directory is made when there is something to watch."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._trusted_ns = LONG_AGO
        self._numbers: memoryview | None = None
        self._wards: tuple[Ward, ...] = ()
        self._child: int | None = None
        if self._directory.exists():
            self._open()
            self._wards = self._read()

    @property
    def trusted_until(self) -> float:
        return self._trusted_ns / NANOSECONDS

    def wards(self) -> Sequence[Ward]:
        return self._wards

    def trust_until(self, at: float) -> None:
        self._trusted_ns = round(at * NANOSECONDS)
        if self._numbers is not None:
            self._numbers[0] = self._trusted_ns

    async def guard(self, wards: Sequence[Ward]) -> None:
        lines = [
            WardLine(
                each.container_id,
                each.trace.directory,
                each.trace.cgroup,
                each.after_seconds,
                each.grace_seconds,
            )
            for each in wards
        ]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
            await asyncio.to_thread(write_durably, self._directory / WARDS_FILE, packed(lines))
        except OSError as failure:
            raise errors.RuntimeError(
                f"the watchdog's list cannot be written: {failure}; without it nothing may run here"
                " whose on_node_lost is `fence`"
            ) from failure
        self._wards = tuple(wards)

    async def tend(self) -> None:
        """A start that fails is tried again at the next call."""
        self._reap()
        if not self._wards or self.is_at_work():
            return
        try:
            self._start()
        except OSError as failure:
            log.error("the watchdog cannot be started", problem=str(failure))
            return
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                while not self.is_at_work():  # noqa: ASYNC110 - memory has no event for us
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except TimeoutError:
            log.error("the watchdog does not begin", log=str(self._directory / LOG_FILE))

    def is_at_work(self) -> bool:
        if self._numbers is None:
            return False
        silent_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._numbers[1]
        return silent_ns < SILENT_SECONDS * NANOSECONDS

    def _open(self) -> None:
        """What another boot has left is not trusted. Raises OSError."""
        if self._numbers is not None:
            return
        descriptor = open_trust(str(self._directory))
        try:
            memory = mmap.mmap(descriptor, TRUST_BYTES)
        finally:
            os.close(descriptor)
        numbers = memoryview(memory).cast("q")
        boot = boot_number()
        if numbers[2] != boot:
            numbers[0] = numbers[1] = LONG_AGO
            numbers[2] = boot
        self._numbers = numbers
        if self._trusted_ns == LONG_AGO:
            self._trusted_ns = numbers[0]
        else:
            numbers[0] = self._trusted_ns

    def _read(self) -> tuple[Ward, ...]:
        path = self._directory / WARDS_FILE
        try:
            lines = unpacked(path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as problem:
            log.warning("the watchdog's list cannot be read", path=str(path), problem=str(problem))
            return ()
        return tuple(
            Ward(
                each.container_id,
                Trace(each.directory, each.cgroup),
                each.after_seconds,
                each.grace_seconds,
            )
            for each in lines
        )

    def _start(self) -> None:
        """Nothing happens if there is one. Raises OSError."""
        with ExitStack() as ours:
            path = self._directory / LOCK_FILE
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            ours.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            said = str(self._directory / LOG_FILE)
            self._child = os.posix_spawn(
                sys.executable,
                python(PROGRAM, str(self._directory), str(lock)),
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_DUP2, lock, lock),  # onto itself: stays open
                ],
                setsid=True,
                setsigmask=[],
            )
        log.info("the watchdog is started", pid=self._child)

    def _reap(self) -> None:
        """An earlier agent's child is not ours."""
        if self._child is not None and os.waitpid(self._child, os.WNOHANG)[0]:
            log.info("the watchdog has ended", pid=self._child)
            self._child = None
