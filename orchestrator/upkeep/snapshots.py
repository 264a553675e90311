"""Backups kept in a directory: taken, counted, and thrown away when there are enough newer ones.

etcd-20261122T101500Z.db          what etcd sent, as its own tools take it
etcd-20261122T101500Z.db.sha256   its checksum, for `sha256sum --check`
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.maintenance import snapshot_to
from store.protocol import Store

NAME = re.compile(r"etcd-\d{8}T\d{6}Z\.db")
NAME_FORMAT = "etcd-%Y%m%dT%H%M%SZ.db"


@dataclass(frozen=True, slots=True)
class Snapshot:
    path: Path
    size_bytes: int
    taken_at: float
    """Seconds since 1970."""


class SnapshotDirectory:
    """`kept`: how many snapshots stay; nothing else in the directory is ever touched."""

    def __init__(self, path: Path, *, kept: int, wall_clock: Callable[[], float]) -> None:
        self.path = path
        self._kept = kept
        self._wall_clock = wall_clock

    async def take(self, store: Store) -> Snapshot:
        """Take one and let the oldest go. Raises `StoreError`, and `OSError` for the directory."""
        taken_at = self._wall_clock()
        path = self.path / datetime.fromtimestamp(taken_at, UTC).strftime(NAME_FORMAT)
        await asyncio.to_thread(self.path.mkdir, mode=0o700, parents=True, exist_ok=True)
        size = await snapshot_to(store, path)
        await asyncio.to_thread(_note_checksum, path)
        await asyncio.to_thread(self._drop_oldest)
        return Snapshot(path, size, taken_at)

    def newest(self) -> Snapshot | None:
        """None if there is none, or no such directory. Raises `OSError`."""
        if not (found := self._present()):
            return None
        path = found[-1]
        moment = datetime.strptime(path.name, NAME_FORMAT).replace(tzinfo=UTC)
        return Snapshot(path, path.stat().st_size, moment.timestamp())

    def _present(self) -> Sequence[Path]:
        """Oldest first."""
        if not self.path.is_dir():
            return ()
        return sorted(each for each in self.path.iterdir() if NAME.fullmatch(each.name))

    def _drop_oldest(self) -> None:
        for path in self._present()[: -self._kept]:
            path.unlink()
            _checksum_file(path).unlink(missing_ok=True)


def _note_checksum(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _checksum_file(path).write_text(f"{digest}  {path.name}\n")


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def seconds_until_due(newest: Snapshot | None, now: float, interval_seconds: float) -> float:
    """From 0 to the interval, whatever the clock that stamped the newest one."""
    if newest is None:
        return 0.0
    return min(interval_seconds, max(0.0, newest.taken_at + interval_seconds - now))
