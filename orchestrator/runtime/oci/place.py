"""The directories of one container made of an image: what agent and conmon write for each other.

On disk, as it is to be known after the machine has lost its power:

    spec.json         the intent; written by the agent before anything is done
    upper/ work/      what it writes; see `rootfs`
    pid.json          who the container's process is, before its command runs
    log               its output, written by conmon in CRI's line format
    log.<n>           the same, and what it was before; see `logs`
    exit, oom         how it ended, by conmon
    end.json          how it ended, by the agent, before anything is taken down
    down              nothing of it is left but what is here

Below /run, in memory where that is a tmpfs: it means nothing after the container has ended, and a
disk's file system has more work with many small files (measured: a third of the agent's).

    prepared.json     the network of its instance as it was given, and how it is to be stopped
    config.json       what the runtime is told (this directory is its bundle)
    hosts, hostname, resolv.conf       its own files in /etc
    rootfs/ l/        its root; see `rootfs`
    shm/              where the memory is mounted that it shares
    supervisor.json   who its conmon is; pid and conmon.pid are how that tells the agent
    started           its command has been told to run
    attach, ctl       conmon's socket for its streams, and the FIFO for its terminal's size
    conmon.err        what conmon had to say, if it failed

One on disk of which the agent can make nothing was being created or removed: it is cleaned away.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from orchestrator.runtime.container_dir import ContainerDir, ProcessRecord, delete_tree, read_record
from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.protocol import ContainerSpec

TAKEN_DOWN = ("upper", "work")


@dataclass(frozen=True, slots=True)
class EndRecord:
    """`end.json`. `code` is None when nobody saw the end. A `failure` is why it never ran."""

    code: int | None
    finished_at: float
    is_oom_killed: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Preparation:
    """`prepared.json`. `sandbox` is None on the node's own network."""

    sandbox: Sandbox | None
    stop_signal: int


_PREPARATION = TypeAdapter(Preparation)
_PROCESS = TypeAdapter(ProcessRecord)
_END = TypeAdapter(EndRecord)

Record = TypeVar("Record")


class OciDir(ContainerDir):
    """`path` is the one on disk, `run` the other."""

    def __init__(self, path: Path, run: Path) -> None:
        super().__init__(path)
        self.run = run

    def create(self, spec: ContainerSpec) -> None:
        super().create(spec)
        self.run.mkdir()
        for each in (self.path, self.run):
            each.chmod(0o711)  # for root in a user namespace; nobody else gets as far

    def preparation(self) -> Preparation | None:
        return read_record(self.run / "prepared.json", _PREPARATION)

    def supervisor(self) -> ProcessRecord | None:
        return read_record(self.run / "supervisor.json", _PROCESS)

    def end(self) -> EndRecord | None:
        return self._read("end.json", _END)

    @property
    def is_half_made(self) -> bool:
        return self.process() is None and self.end() is None

    @property
    def is_started(self) -> bool:
        return (self.run / "started").exists()

    @property
    def is_down(self) -> bool:
        return (self.path / "down").exists()

    def mark_started(self) -> None:
        _touch(self.run / "started")

    def write_preparation(self, preparation: Preparation) -> None:
        _write(self.run / "prepared.json", _PREPARATION, preparation)

    def write_processes(self, init: ProcessRecord, conmon: ProcessRecord) -> None:
        _write(self.run / "supervisor.json", _PROCESS, conmon)
        _write(self.path / "pid.json", _PROCESS, init)

    def forget_process(self) -> None:
        """It is half made from now on, whatever becomes of who says so. Blocks."""
        with suppress(FileNotFoundError):
            (self.path / "pid.json").unlink()
        _sync(self.path)

    def write_end(self, end: EndRecord) -> None:
        """On the disk for good, with the spec that it belongs to. Blocks."""
        _write(self.path / "end.json", _END, end, is_synced=True)
        for name in ("spec.json", "."):
            _sync(self.path / name)

    def conmon_exit(self) -> tuple[int, float] | None:
        """What conmon has written: the exit code, and when."""
        with suppress(FileNotFoundError, ValueError):
            file = self.path / "exit"
            return int(file.read_text()), file.stat().st_mtime
        return None

    def said_by_conmon(self) -> str:
        with suppress(OSError):
            return (self.run / "conmon.err").read_text(errors="replace")
        return ""

    def take_down(self) -> None:
        """Delete what a container that has ended needs no more. Blocks."""
        for each in (self.run, *(self.path / name for name in TAKEN_DOWN)):
            if each.exists():
                delete_tree(each)
        _touch(self.path / "down")


def _write(
    path: Path, adapter: TypeAdapter[Record], record: Record, *, is_synced: bool = False
) -> None:
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(adapter.dump_json(record))
    if is_synced:
        _sync(unfinished)
    unfinished.rename(path)


def _touch(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
