"""`cluster.json`: what runs on a data directory, for the CLI and for `orc down`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from orchestrator.local.data_dir import DataDir, write_json
from orchestrator.model.errors import ConfigError

SUPERVISOR_ROLE = "up"
SAME_START_SECONDS = 2.0
"""A start time is counted from the boot's, which moves when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process by pid and start time (seconds since 1970): a pid alone passes to strangers."""

    role: str
    name: str
    pid: int
    start_time: float
    port: int

    @property
    def title(self) -> str:
        return "orc up" if self.role == SUPERVISOR_ROLE else f"{self.role} {self.name}"

    def process(self) -> psutil.Process | None:
        """It, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.start_time) < SAME_START_SECONDS
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """`servers` and `etcd` are URLs."""

    data_dir: str
    servers: tuple[str, ...] = ()
    etcd: tuple[str, ...] = ()
    processes: tuple[ProcessRecord, ...] = field(default=())

    def running(self) -> list[ProcessRecord]:
        return [each for each in self.processes if each.process()]


def record_of(role: str, name: str, pid: int, port: int = 0) -> ProcessRecord | None:
    """None for a process that has ended already."""
    try:
        return ProcessRecord(role, name, pid, psutil.Process(pid).create_time(), port)
    except psutil.NoSuchProcess:
        return None


def write_record(data_dir: DataDir, record: ClusterRecord) -> None:
    write_json(data_dir.cluster_file, asdict(record))


def read_record(data_dir: DataDir) -> ClusterRecord | None:
    """None if nothing is recorded as running. Raises `ConfigError` if it cannot be read."""
    path = data_dir.cluster_file
    try:
        found = json.loads(path.read_text())
        processes = tuple(ProcessRecord(**each) for each in found["processes"])
        return ClusterRecord(
            found["data_dir"], tuple(found["servers"]), tuple(found["etcd"]), processes
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; be the user who has run `orc up`"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path} is damaged: stop what still runs there by hand, and delete it"
        ) from None


def listed(records: Iterable[ProcessRecord]) -> str:
    return ", ".join(f"{each.title} (pid {each.pid})" for each in records)


def point_to(data_dir: DataDir, pointer: Path) -> None:
    """Let the CLI find this cluster without being told."""
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"{data_dir.path}\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write {pointer}, by which `orc` finds this cluster: {error.strerror}; give"
            " this user the right to, or set XDG_STATE_HOME to another directory"
        ) from None


def in_order(records: Sequence[ProcessRecord]) -> list[list[ProcessRecord]]:
    """What is stopped together, in turn: agents must not see controllers replace what they
    stop, and both need etcd until their end."""
    roles = (SUPERVISOR_ROLE, "controller", "agent", "etcd")
    return [[each for each in records if each.role == role] for role in roles]
