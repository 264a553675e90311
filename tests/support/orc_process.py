"""`orc controller` and `orc agent` as child processes, to be killed, frozen and started again.

Everything here blocks, but for `start` and `kill` only briefly.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.pausing import pause

ROOT = Path(__file__).parent.parent.parent
ORC = (sys.executable, "-P", "-m", "orchestrator.entry.main")
"""-P: nothing is imported from where the tests happen to run."""

START_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 20.0


def orc_environment() -> dict[str, str]:
    """This process's own, without what is set for its user's `orc`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ORC_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def run_orc_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`orc` with these arguments, in a process of its own, to its end."""
    return subprocess.run(
        [*ORC, *arguments],
        env=orc_environment(),
        capture_output=True,
        text=True,
        timeout=START_LIMIT_SECONDS,
    )


class OrcProcess:
    """A controller or an agent: its port, its flags and its log stay over restarts.

    `tls` is how its readiness is asked for; without it that is plain HTTP. What is put into
    `environment` is there for its next life.
    """

    def __init__(
        self,
        role: str,
        name: str,
        *,
        port: int,
        flags: Sequence[str],
        log: Path,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.flags = list(flags)
        self.log = log
        self.environment: dict[str, str] = {}
        self._role = role
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} has not been started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -n for signal n."""
        return self._process.poll() if self._process else None

    def launch(self, *more_flags: str) -> None:
        """Start it without waiting for it to be ready."""
        assert not self.is_running, f"{self.name} runs already"
        command = [*ORC, self._role, *self.flags, *more_flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**orc_environment(), **self.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def start(self, *more_flags: str) -> None:
        self.launch(*more_flags)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self.is_ready():
            assert self.is_running, f"{self.name} has ended:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.log_tail()}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2.0, context=self._tls):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def send(self, number: signal.Signals) -> None:
        assert self._process, f"{self.name} has not been started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """For its end; its exit code."""
        assert self._process, f"{self.name} has not been started"
        return self._process.wait(STOP_LIMIT_SECONDS)

    def pause(self) -> None:
        assert self._process, f"{self.name} has not been started"
        pause(self._process)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def close(self) -> None:
        """Kill it if it runs, frozen or not: for the end of a test."""
        if self.is_running:
            self.kill()

    def said(self) -> str:
        """All that it has ever logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def errors(self) -> list[str]:
        """The sentences with which its lives have ended."""
        return [line for line in self.said().splitlines() if line.startswith("error: ")]

    def log_tail(self, lines: int = 25) -> str:
        return "\n".join(self.said().splitlines()[-lines:])


def processes_of(path: Path) -> list[psutil.Process]:
    """All that name `path` on their command line or in their environment, but for us and those
    that have started us."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [each for each in psutil.process_iter() if each.pid not in own and _names(each, path)]


def argv_of(process: psutil.Process) -> list[str]:
    """Empty once it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Empty once it has ended."""
    try:
        return process.environ()
    except psutil.Error:
        return {}


def _names(process: psutil.Process, path: Path) -> bool:
    texts = [*argv_of(process), *environment_of(process).values()]
    return any(str(path) in text for text in texts)


def end_all_of(path: Path) -> None:
    """Kill them until none is left: supervisors and their containers come and go together."""
    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while living := processes_of(path):
        assert time.monotonic() < deadline, f"cannot be killed: {living}"
        for process in living:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(living, timeout=1.0)
