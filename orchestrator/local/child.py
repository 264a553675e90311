"""One child process, kept running as systemd's `Restart=on-failure` would."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.process.clock import boottime

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""After running so long, a failure counts as the first one again."""

CLEAN_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE}


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `role` is `controller`, `agent` or `etcd`; `url` is where it can be asked
    whether it is ready."""

    role: str
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    port: int
    ready_url: str

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}"


class Child:
    """`announce` gets a sentence for each end and restart; `on_start` is called after each."""

    def __init__(
        self,
        program: Program,
        *,
        announce: Callable[[str], None],
        on_start: Callable[[], None],
    ) -> None:
        self.program = program
        self.exits = 0
        self._announce = announce
        self._on_start = on_start
        self._process: subprocess.Popen[bytes] | None = None
        self._stop_asked = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()  # until it is kept running, there is nothing to wait for

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    async def keep_running(self) -> None:
        """Run it until it ends in good order, or `stop` was called.

        One that cannot be started is tried again like one that fails. If this is cancelled, the
        process is killed: nobody would look after it any more.
        """
        self._ended.clear()
        failures = 0
        try:
            while not self._stop_asked.is_set():
                began = boottime()
                failure = await self._run_once()
                self.exits += 1
                if self._stop_asked.is_set():
                    return
                if failure is None:
                    self._announce(f"{self.program.title} has ended in good order, and stays down")
                    return
                failures = 1 if boottime() - began > STEADY_SECONDS else failures + 1
                await self._pause(failure, failures)
        finally:
            self.send(signal.SIGKILL)
            self._ended.set()

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL after the grace; returns when it has ended, and will not be started
        again."""
        self._stop_asked.set()
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._ended.wait()
        except TimeoutError:
            self._announce(f"{self.program.title} does not stop: killing it")
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        self._stop_asked.set()
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    async def _run_once(self) -> str | None:
        """What went wrong; None when it ended in good order."""
        try:
            self._process = process = self._spawn()
        except OSError as error:
            return f"cannot be started ({error})"
        pidfd = os.pidfd_open(process.pid)  # before anybody asks, and thereby reaps it
        self._on_start()
        await _readable(pidfd)
        return _failure(process.wait())

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.program.log.open("ab") as log:
            return subprocess.Popen(
                self.program.command,
                env=dict(self.program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who stop them in order
            )

    async def _pause(self, failure: str, failures: int) -> None:
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (failures - 1))
        self._announce(f"{self.program.title} {failure}: starting it again in {wait:g} s")
        try:
            async with asyncio.timeout(wait):
                await self._stop_asked.wait()
        except TimeoutError:
            return


def _failure(code: int) -> str | None:
    """What an exit code (-n for signal n) says went wrong, if anything."""
    if code == 0 or -code in CLEAN_SIGNALS:
        return None
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


async def _readable(pidfd: int) -> None:
    """Wait, without a thread, until the process has ended; then close `pidfd`."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
