"""An `orc up` of one test: its own directories, its own ports, and nothing left behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ORC = (sys.executable, "-m", "orchestrator.entry.main")
LIMIT_SECONDS = 90.0
PORTS_OF_A_CLUSTER = 40
LOWEST, HIGHEST = 10_000, 19_000
"""Below those that `tests.support.ports` gives away one by one."""


def free_base_port() -> int:
    """The first of a block of ports that are free, as `orc up` counts them from its base."""
    for _ in range(1_000):
        base = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        if all(_is_free(base + offset) for offset in range(PORTS_OF_A_CLUSTER)):
            return base
    raise AssertionError("no block of free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class LocalUp:
    """Use `stop_all` at the end, whatever happened."""

    def __init__(self, home: Path, *, path: str | None = None) -> None:
        self.data_dir = home / "cluster"
        self.base_port = free_base_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORC_")}
        self.environment = {
            **kept,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_DATA_HOME": str(home / "share"),
            "PATH": path or os.environ["PATH"],
        }
        self._foreground: subprocess.Popen[str] | None = None

    @property
    def where(self) -> tuple[str, ...]:
        return (f"--data-dir={self.data_dir}", f"--base-port={self.base_port}")

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.base_port}"

    def orc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ORC, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )

    def up(self, *options: str) -> str:
        """Detached, and up; what it said."""
        answer = self.orc("up", "--detach", *self.where, *options)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def start_foreground(self, *options: str) -> subprocess.Popen[str]:
        self._foreground = subprocess.Popen(
            [*ORC, "up", *self.where, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self._foreground

    def record(self) -> dict[str, Any]:
        """`cluster.json`."""
        found: dict[str, Any] = json.loads((self.data_dir / "cluster.json").read_text())
        return found

    def pid_of(self, name: str) -> int:
        return next(int(each["pid"]) for each in self.record()["processes"] if each["name"] == name)

    def listing(self, kind: str) -> list[dict[str, Any]]:
        """What `orc get` shows of all namespaces."""
        scope: Sequence[str] = () if kind == "nodes" else ("--all-namespaces",)
        answer = self.orc("get", kind, *scope, "--output=json")
        assert answer.returncode == 0, answer.stderr
        found: Any = json.loads(answer.stdout)
        items: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
        return items

    def stop_all(self) -> None:
        if self._foreground:
            if self._foreground.poll() is None:
                self._foreground.send_signal(signal.SIGTERM)
            self._foreground.communicate(timeout=LIMIT_SECONDS)
        answer = self.orc("down", f"--data-dir={self.data_dir}")
        assert answer.returncode == 0, answer.stdout + answer.stderr
