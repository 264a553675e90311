"""The agent's own directory: who it is, which store it serves, and that it is alone in there."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

import structlog

from orchestrator.model.errors import ClusterError, ConfigError
from orchestrator.runtime.images.durable import sync_directory

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """`agent_id` is drawn once. The others: how far which store was seen; empty if none was."""

    agent_id: str
    cluster_id: int = 0
    revision: int = 0
    store_id: str = ""

    @property
    def store(self) -> str:
        """For people."""
        name = f"id {self.store_id[:8]}" if self.store_id else "without an id"
        return f"{name}, cluster {self.cluster_id:x}, revision {self.revision}"


class AgentHome:
    """Holds the directory's lock while it is open; what it writes survives a crash.

    It waits for the disk in a thread: on a machine that runs etcd too, that can take seconds.
    """

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._writing = threading.Lock()
        self._lock = self._locked()
        self.identity = self._read() or self._drawn(rng)

    @property
    def containers(self) -> Path:
        return self.path / "containers"

    async def check_store(
        self, cluster_id: int, revision: int, store_id: str, *, accept: bool
    ) -> None:
        """Refuse a store that is not the one our instances were assigned by, or that has gone
        back: what it does not know we would have to stop. `accept` is a person's word for it.

        Raises `ClusterError`.
        """
        known = self.identity
        found = Identity(known.agent_id, cluster_id, revision, store_id)
        is_same = known.cluster_id in (0, cluster_id) and known.store_id in ("", store_id)
        if not (is_same and revision >= known.revision) and not accept:
            raise ClusterError(
                f"this store ({found.store}) is not the one that this node was assigned by"
                f" ({known.store}): it was wiped, restored or replaced. Nothing has been stopped."
                " Point --etcd-endpoints to the right one, or start once with --accept-store to"
                " obey this one"
            )
        await self._note(found)

    async def note_store(self, store_id: str) -> None:
        await self._note(replace(self.identity, store_id=store_id))

    async def note_revision(self, revision: int) -> None:
        if revision > self.identity.revision:
            await self._note(replace(self.identity, revision=revision))

    def read(self, name: str) -> bytes | None:
        """A file of the directory; None if it is not there, or cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    async def write(self, name: str, content: bytes) -> bool:
        """Whether the disk has it. If not, what was there before may still be there."""
        try:
            await asyncio.to_thread(self._put, name, content)
        except OSError as error:
            log.warning("a file cannot be written", path=str(self.path / name), problem=str(error))
            return False
        return True

    async def delete(self, name: str) -> None:
        """For good, unless the disk takes no changes at all."""
        try:
            await asyncio.to_thread(self._remove, name)
        except OSError as error:
            log.warning("a file cannot be deleted", path=str(self.path / name), problem=str(error))

    def _remove(self, name: str) -> None:
        with self._writing:
            (self.path / name).unlink(missing_ok=True)
            sync_directory(self.path)

    def __enter__(self) -> AgentHome:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        with self._writing:  # a write that was given up may be under way
            os.close(self._lock)

    def _locked(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the agent cannot use its data directory {self.path}: {error.strerror}; choose"
                " another --data-dir"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ClusterError(
                f"another agent already runs on the data directory {self.path}: stop that one, or"
                " choose another --data-dir and another --node"
            ) from None
        return lock

    def _read(self) -> Identity | None:
        path = self.path / "agent.json"
        try:
            return Identity(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise ConfigError(
                f"{path} is damaged: restore it, or delete it to make this agent a new one"
            ) from None

    def _drawn(self, rng: random.Random) -> Identity:
        identity = Identity(f"{rng.getrandbits(128):032x}")
        try:
            self._write(identity)
        except OSError as error:
            raise ConfigError(
                f"the agent cannot keep its identity in {self.path}: {error.strerror}; make room,"
                " or choose another --data-dir"
            ) from None
        return identity

    async def _note(self, identity: Identity) -> None:
        """A full disk is no reason to end: what is on it is older, but still true."""
        self.identity = identity
        try:
            await asyncio.to_thread(self._write, identity)
        except OSError as error:
            log.warning("how far the store was seen cannot be noted", problem=str(error))

    def _write(self, identity: Identity) -> None:
        self._put("agent.json", json.dumps(asdict(identity)).encode())

    def _put(self, name: str, content: bytes) -> None:
        """Whole or not at all, and for good."""
        partial = self.path / f"{name}.new"
        with self._writing:
            descriptor = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self.path / name)
            sync_directory(self.path)
