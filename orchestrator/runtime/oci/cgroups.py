"""A container's cgroup, read and emptied by its files: no runtime is asked.

Version 1 has a hierarchy for each controller below /sys/fs/cgroup, version 2 has one; a hybrid
host is version 1 for whatever matters here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")

NO_LIMIT_BYTES = 2**60
"""Version 1 shows a huge number where nothing is limited."""


@dataclass(frozen=True, slots=True)
class Usage:
    """`memory_bytes` is the working set: without what the kernel could drop at once."""

    cpu_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None
    processes: int | None


class Cgroup:
    """`path` is absolute, below the mounted root (`/orchestrator/<id>`)."""

    def __init__(self, path: str, root: Path = ROOT) -> None:
        self.path = path
        self._root = root
        self._is_unified = is_unified(root)

    @property
    def directory(self) -> Path:
        """Where its processes are listed, and killed all at once if the kernel can do that."""
        return self._of("pids")

    def usage(self) -> Usage | None:
        """None once it is gone."""
        try:
            return self._usage_of_v2() if self._is_unified else self._usage_of_v1()
        except OSError:
            return None

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory; 0 once it is gone."""
        name = "memory.events" if self._is_unified else "memory.oom_control"
        with suppress(OSError):
            return _fields(self._of("memory") / name).get("oom_kill", 0)
        return 0

    def pids(self) -> list[int]:
        """All processes in it, and in what is below it."""
        found: set[int] = set()
        top = self._of("pids")
        for path in [top, *_below(top)]:
            with suppress(OSError):  # it is gone, or threaded: then those above it list its own
                found.update(map(int, (path / "cgroup.procs").read_text().split()))
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to all that is in it now. What forks meanwhile may get away: look again."""
        with suppress(OSError):
            (self._of("pids") / "cgroup.kill").write_text("1")
            return
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Whether nothing of it is left. What still has processes in it stays."""
        for top in self._directories():
            for path in [*_below(top), top]:
                with suppress(OSError):
                    path.rmdir()
        return not any(path.exists() for path in self._directories())

    def _directories(self) -> list[Path]:
        if self._is_unified:
            return [self._of("")]
        names = [entry.name for entry in os.scandir(self._root) if not entry.is_symlink()]
        return [path for name in names if (path := self._of(name)).exists()]

    def _of(self, controller: str) -> Path:
        base = self._root if self._is_unified else self._root / controller
        return base / self.path.lstrip("/")

    def _usage_of_v2(self) -> Usage:
        top = self._of("")
        limit = (top / "memory.max").read_text().strip()
        inactive = _fields(top / "memory.stat").get("inactive_file", 0)
        return Usage(
            _fields(top / "cpu.stat")["usage_usec"] / 1e6,
            max(0, _number(top / "memory.current") - inactive),
            None if limit == "max" else int(limit),
            _number(top / "pids.current"),
        )

    def _usage_of_v1(self) -> Usage:
        memory = self._of("memory")
        inactive = _fields(memory / "memory.stat").get("total_inactive_file", 0)
        limit = _number(memory / "memory.limit_in_bytes")
        return Usage(
            _number(self._of("cpuacct") / "cpuacct.usage") / 1e9,
            max(0, _number(memory / "memory.usage_in_bytes") - inactive),
            None if limit >= NO_LIMIT_BYTES else limit,
            _number(self._of("pids") / "pids.current"),
        )


def is_unified(root: Path = ROOT) -> bool:
    return (root / "cgroup.controllers").exists()


def has_swap_limit(root: Path = ROOT) -> bool:
    """Whether the kernel can limit swap: where it cannot, a runtime fails over being asked to."""
    if is_unified(root):
        return Path("/proc/swaps").exists()
    return (root / "memory" / "memory.memsw.limit_in_bytes").exists()


def _below(top: Path) -> Iterator[Path]:
    """The deepest first."""
    for parent, names, _ in os.walk(top, topdown=False):
        yield from (Path(parent, name) for name in names)


def _fields(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: Path) -> int:
    return int(path.read_text())
