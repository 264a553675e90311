"""The data directory of a local cluster: what is where in it, and whose it is now.

local.json     the mark that it is ours, and what the next `orc up` must keep to
lock           locked for as long as an `orc up` (or `orc down`) is at work
cluster.json   what runs: the CLI finds the servers here
etcd/e1        an etcd member's data
agents/n1      an agent's data
logs/          what each process says; the run before is kept as `<name>.log.1`
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.cli.discovery import CLUSTER_FILE
from orchestrator.model.errors import ConfigError, StateError

MARK = "local.json"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Kept:
    """What later runs on the same data must keep to. `etcd_version` is major and minor, empty
    while there is no etcd of our own; `base_port` is that of its members."""

    etcd_version: str = ""
    etcd_members: int = 0
    base_port: int = 0
    has_sample: bool = False


class DataDir:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def cluster_file(self) -> Path:
        return self.path / CLUSTER_FILE

    def etcd(self, member: str) -> Path:
        return self.path / "etcd" / member

    def agent(self, node: str) -> Path:
        return self.path / "agents" / node

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def create(self) -> None:
        """Make it ours. Raises `ConfigError` for a directory that holds anything else."""
        with self._usable():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.is_ours:
                if any(self.path.iterdir()):
                    raise ConfigError(
                        f"{self.path} holds something else: choose a new or an empty --data-dir"
                    )
                self.keep(Kept())
            (self.path / "logs").mkdir(exist_ok=True)

    @property
    def is_ours(self) -> bool:
        """Whether `orc up` has made it. Raises `ConfigError` where that cannot be seen."""
        with self._usable():
            return (self.path / MARK).is_file()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """What the operating system refuses here, for the user: a `ConfigError`."""
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"cannot use {error.filename or self.path}: {error.strerror}; give this user the"
                " right to, or choose another --data-dir"
            ) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one at work here. Raises `StateError` if somebody else is."""
        with self._usable():
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise StateError(
                f"a cluster already runs on {self.path}: stop it with `orc down`, or start"
                " another one with --data-dir and --base-port"
            ) from None
        try:
            yield
        finally:
            os.close(handle)

    def reset(self) -> None:
        """Delete all data. Hold the lock; the directory is ours, or `create` has refused it."""
        with self._usable():
            for entry in self.path.iterdir():
                if entry.name in {LOCK, MARK}:
                    continue
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        self.keep(Kept())
        self.create()

    def kept(self) -> Kept:
        path = self.path / MARK
        with self._usable():
            text = path.read_text()
        try:
            return Kept(**json.loads(text))
        except (ValueError, TypeError):
            raise ConfigError(
                f"{path} is damaged: start anew with `orc up --reset`, which deletes the data"
            ) from None

    def keep(self, kept: Kept) -> None:
        with self._usable():
            write_json(self.path / MARK, asdict(kept))

    def turn_log(self, name: str) -> Path:
        """A log file for a new run; the one of the run before stays beside it."""
        path = self.log(name)
        with self._usable():
            if path.exists():
                path.replace(path.with_suffix(".log.1"))
        return path


def write_json(path: Path, value: object) -> None:
    """As a whole or not at all."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.replace(path)
