"""The directory of one container: what the agent and the supervisor write for each other.

    spec.json         the intent; written by the agent before anything is done
    lock              locked by the supervisor for as long as it lives
    supervisor.json   who the supervisor is
    pid.json          who the container's process is; written before its command runs
    stdout.fifo       where it writes to, and stderr.fifo
    log.<n>           its output, in CRI's line format
    exit.json         how it ended; written when nothing of it runs any more
    supervisor.err    what the supervisor had to say, if it failed
    work/             where the command runs if its spec names no directory

A directory of which the agent can make nothing was being created or removed: it is cleaned away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.runtime.protocol import ContainerSpec
from orchestrator.runtime.supervisor.processes import boot_id, start_ticks


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """`pid.json` and `supervisor.json`: a process, told apart from all others with its pid."""

    pid: int
    start_ticks: int
    boot_id: str
    started_at: float

    @property
    def is_alive(self) -> bool:
        return start_ticks(self.pid) == self.start_ticks and boot_id() == self.boot_id


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """`exit.json`. Code and signal are None when nobody saw the end.

    `failed_at` is the stage at which a start failed, with its `errno`; else it is empty.
    """

    code: int | None
    signal: int | None
    finished_at: float
    failed_at: str = ""
    errno: int = 0


_SPEC = TypeAdapter(ContainerSpec)
_PROCESS = TypeAdapter(ProcessRecord)
_EXIT = TypeAdapter(ExitRecord)

Record = TypeVar("Record")


class ContainerDir:
    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, spec: ContainerSpec) -> None:
        """Write the intent. Not synced here: the supervisor does that, beside its exit record.

        A power cut ends the container too, and a directory without a spec is cleaned away.
        """
        self.path.mkdir(mode=0o700)
        (self.path / "work").mkdir()
        unfinished = self.path / "spec.json.tmp"
        unfinished.write_bytes(_SPEC.dump_json(spec))
        unfinished.rename(self.path / "spec.json")

    def spec(self) -> ContainerSpec | None:
        return self._read("spec.json", _SPEC)

    def supervisor(self) -> ProcessRecord | None:
        return self._read("supervisor.json", _PROCESS)

    def process(self) -> ProcessRecord | None:
        return self._read("pid.json", _PROCESS)

    def exit(self) -> ExitRecord | None:
        return self._read("exit.json", _EXIT)

    def last_words(self) -> str:
        """The last line of what a failed supervisor said."""
        try:
            lines = (self.path / "supervisor.err").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return lines[-1] if lines else ""

    def lock(self) -> int | None:
        """The locked file, or None while a supervisor holds it."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def open_fifo(self, stream: str) -> int:
        """The end to read from, which stays open when the container closes its own."""
        fifo = self.path / f"{stream}.fifo"
        if not fifo.exists():
            os.mkfifo(fifo, 0o600)
        return os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def is_supervised(self) -> bool:
        """Found out by trying the lock: for a moment it may be ours."""
        fd = self.lock()
        if fd is not None:
            os.close(fd)
        return fd is None

    @property
    def is_half_made(self) -> bool:
        """Its command was never tried."""
        return self.process() is None and self.exit() is None

    def discard(self) -> Path:
        """Take it out of sight in one step. The caller deletes what is returned, at leisure."""
        gone = self.path.with_name(f".gone-{self.path.stat().st_ino}")
        return self.path.rename(gone)

    def _read(self, name: str, adapter: TypeAdapter[Record]) -> Record | None:
        return read_record(self.path / name, adapter)


def read_record(path: Path, adapter: TypeAdapter[Record]) -> Record | None:
    """None if it is not there, or is damaged: only a power cut can have done that."""
    try:
        return adapter.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def delete_tree(path: Path) -> None:
    """What a container made unreadable or unwritable in its own directory goes too, if it may."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)


def _open_up(path: Path) -> None:
    """Let all its directories be entered and emptied; a link leads out and is no directory."""
    with suppress(OSError):
        path.chmod(0o700)
    for parent, names, _ in os.walk(path):
        for directory in (Path(parent, name) for name in names):
            if not directory.is_symlink():
                with suppress(OSError):
                    directory.chmod(0o700)
