"""The directory of one container made of an image: what the agent and conmon write for each other.

    spec.json         the intent; written by the agent before anything is done
    prepared.json     the network of its instance as it was given, and how it is to be stopped
    config.json       what the runtime is told (this directory is its bundle)
    hosts, hostname, resolv.conf       its own files in /etc
    rootfs/ upper/ work/ l/            its root; see `rootfs`
    shm/              where the memory is mounted that it shares
    pid.json          who the container's process is, before its command runs
    supervisor.json   who its conmon is
    started           its command has been told to run
    log               its output, written by conmon in CRI's line format
    log.<n>           the same, and what it was before; see `logs`
    exit, oom         how it ended, by conmon
    attach, ctl       conmon's socket for its streams, and the FIFO for its terminal's size
    end.json          how it ended, by the agent, before anything is taken down
    down              nothing of it is left but its records and its log

A directory of which the agent can make nothing was being created or removed: it is cleaned away.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from orchestrator.runtime.container_dir import ContainerDir, ProcessRecord, delete_tree
from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.protocol import ContainerSpec

TAKEN_DOWN = ("rootfs", "upper", "work", "l", "shm")


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
    def create(self, spec: ContainerSpec) -> None:
        super().create(spec)
        self.path.chmod(0o711)  # for root in a user namespace; nobody else gets as far

    def preparation(self) -> Preparation | None:
        return self._read("prepared.json", _PREPARATION)

    def end(self) -> EndRecord | None:
        return self._read("end.json", _END)

    @property
    def is_half_made(self) -> bool:
        return self.process() is None and self.end() is None

    @property
    def is_started(self) -> bool:
        return (self.path / "started").exists()

    @property
    def is_down(self) -> bool:
        return (self.path / "down").exists()

    def mark(self, name: str) -> None:
        os.close(os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def write_preparation(self, preparation: Preparation) -> None:
        self._write("prepared.json", _PREPARATION, preparation)

    def write_processes(self, init: ProcessRecord, conmon: ProcessRecord) -> None:
        self._write("supervisor.json", _PROCESS, conmon)
        self._write("pid.json", _PROCESS, init)

    def write_end(self, end: EndRecord) -> None:
        """On the disk for good, with the spec that it belongs to. Blocks."""
        self._write("end.json", _END, end, is_synced=True)
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
            return (self.path / "conmon.err").read_text(errors="replace")
        return ""

    def take_down(self) -> None:
        """Delete what a container that has ended needs no more. Blocks."""
        for name in TAKEN_DOWN:
            if (self.path / name).exists():
                delete_tree(self.path / name)
        self.mark("down")

    def _write(
        self, name: str, adapter: TypeAdapter[Record], record: Record, *, is_synced: bool = False
    ) -> None:
        unfinished = self.path / f"{name}.tmp"
        unfinished.write_bytes(adapter.dump_json(record))
        if is_synced:
            _sync(unfinished)
        unfinished.rename(self.path / name)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
