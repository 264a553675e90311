"""What the containers of a node have, or have left, on the machine and in its directories."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runtime.network import leases
from orchestrator.runtime.previous_logs import FOLDER
from tests.support import cgroups
from tests.support.node_images import left_over

RECORDS = ("network/sandboxes", "network/ports", "volumes/holds", "volumes/mounts")
KILLED_SECONDS = 10.0
AGENT = b"tests.support.soak_agent"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ground:
    """`mark` is in the names of all that the node makes on the machine, and in the environment of
    all that it starts; `data_dir` is its agent's. It is alone in its network."""

    mark: str
    data_dir: Path
    bridge: str

    @property
    def run_dir(self) -> Path:
        return Path("/run", self.mark)

    def processes(self) -> list[Process]:
        """Containers', and those that make, supervise or end them."""
        return list(_processes(self.mark.encode()))

    def lives(self) -> Counter[str]:
        """How many first processes each container has; its id is their fourth argument. What a
        shell has just forked looks like it for a moment."""
        shells = {each.pid: each for each in self.processes() if each.argv[:2] == ("sh", "-c")}
        firsts = [each for each in shells.values() if each.parent not in shells]
        return Counter(each.argv[3] for each in firsts)

    def all(self) -> list[str]:
        """All that containers have, and what is there without any: bridge, rules, directories."""
        links = (line.split()[0] for line in _said("ip", "-br", "link").splitlines())
        rules = (line for line in _said("iptables-save").splitlines() if line.startswith("-A"))
        return sorted(
            [
                *(" ".join(each.argv) for each in self.processes()),
                *links,
                *rules,
                *self._mounts(),
                *self._cgroups(),
                *map(str, self.run_dir.rglob("*")),
                *self._records(),
            ]
        )

    def remove(self) -> None:
        """All of it, whatever has happened: for the end of a test."""
        deadline = time.monotonic() + KILLED_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            for each in left:
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
            time.sleep(0.05)
        for path in reversed(list(self._mounts())):
            subprocess.run(["umount", "--lazy", path], check=False)
        subprocess.run(["rm", "-rf", str(self.run_dir)], check=False)
        for parent in cgroups.directories(self.mark):
            for directory in [*cgroups.below(parent), parent]:
                directory.rmdir()

    def _mounts(self) -> Iterator[str]:
        """In this mount namespace, and in the first process's."""
        for pid in ("self", "1"):
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                if self.mark in line or str(self.data_dir) in line:
                    yield line.split()[4]

    def _cgroups(self) -> Iterator[str]:
        for parent in cgroups.directories(self.mark):
            yield from map(str, cgroups.below(parent))

    def _records(self) -> Iterator[str]:
        for name in RECORDS:
            yield from map(str, (self.data_dir / name).iterdir())
        for path, _ in leases.leased(self.data_dir / "network/leases" / self.bridge):
            yield str(path)
        yield from (str(each) for each in (self.data_dir / "oci").iterdir() if each.name != FOLDER)
        yield from (str(each) for each in (self.data_dir / "oci" / FOLDER).glob(".*"))
        yield from (str(each) for each in (self.data_dir / "volumes/local").glob(".*"))
        yield from left_over(self.data_dir / "images")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _processes(mark: bytes) -> Iterator[Process]:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            command = (path / "cmdline").read_bytes()
            is_ours = mark in command or mark in (path / "environ").read_bytes()
            if is_ours and AGENT not in command:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                argv = tuple(os.fsdecode(command).split("\0"))
                yield Process(int(path.name), int(fields[1]), argv)
