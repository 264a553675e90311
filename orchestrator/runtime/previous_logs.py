"""The logs of containers that were removed: why the last attempt failed is asked after it is gone.

Of each container of a slot the newest attempt's is kept, as `<root>/<container id>/log.<n>`, until
the next one takes its place, it is `days` old, or all of them together are too large or too many:
the oldest goes first. That a workload is deleted changes nothing: what it said last may matter
then most of all. Age and size are looked at when one is added, and when the agent starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runtime.container_dir import delete_tree
from orchestrator.runtime.log_files import read_log
from orchestrator.runtime.protocol import LogLine, LogQuery
from orchestrator.runtime.supervisor.log import log_numbers

FOLDER = ".previous"
"""Its name in a runtime's root, where no container can be called so."""

SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class KeepingTerms:
    days: float = 7.0
    bytes: int = 256_000_000
    count: int = 1_000


@dataclass(frozen=True, slots=True)
class _Kept:
    container_id: str
    bytes: int
    since: float


class PreviousLogs:
    """`KeptLogs` on disk. Open it before it is used; `root` is its alone.

    Nothing here waits for the disk but `open` and `sweep`, which may be called in a thread.
    """

    def __init__(
        self,
        root: Path,
        terms: KeepingTerms = KeepingTerms(),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._terms = terms
        self._now = now
        self._kept: dict[str, _Kept] = {}  # by slot and container; the oldest first
        self._dropped: list[Path] = []

    def open(self) -> None:
        """Find what was kept, and delete what was being deleted."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._root.iterdir(), key=lambda each: each.stat().st_mtime):
            if path.name.startswith("."):
                self._dropped.append(path)
            else:
                self._enter(_Kept(path.name, _size(path), path.stat().st_mtime))
        self._make_room()
        self.sweep()

    def keep(self, directory: Path, container_id: str) -> None:
        """Take the files `log.<n>` out of a container's directory, which is to be deleted.

        If the disk refuses, the log is lost and the container can be removed all the same. Call
        `sweep` some time after.
        """
        with suppress(OSError):
            if numbers := log_numbers(str(directory)):
                self._keep(directory, numbers, container_id)

    def sweep(self) -> None:
        """Delete what is kept no longer."""
        while self._dropped:
            delete_tree(self._dropped.pop())

    def ids(self) -> Iterable[str]:
        return [kept.container_id for kept in self._kept.values()]

    def read(self, container_id: str, query: LogQuery) -> AsyncGenerator[LogLine, None] | None:
        kept = self._kept.get(_place(container_id)[0])
        if kept is None or kept.container_id != container_id:
            return None
        return read_log(self._root / container_id, query)

    def _keep(self, directory: Path, numbers: list[int], container_id: str) -> None:
        place, attempt = _place(container_id)
        earlier = self._kept.get(place)
        if earlier is not None and _place(earlier.container_id)[1] > attempt:
            return
        if earlier is not None and earlier.container_id == container_id:
            self._drop(place)  # of an earlier assignment
        target = self._root / container_id
        target.mkdir(mode=0o700)
        for number in reversed(numbers):  # if we are killed meanwhile, the end is there
            name = f"log.{number}"
            (directory / name).rename(target / name)
        self._enter(_Kept(container_id, _size(target), self._now()))
        self._make_room()

    def _enter(self, kept: _Kept) -> None:
        place, attempt = _place(kept.container_id)
        earlier = self._kept.get(place)
        if earlier is not None and _place(earlier.container_id)[1] > attempt:
            self._take_out(kept.container_id)
            return
        if earlier is not None:
            self._drop(place)
        self._kept[place] = kept

    def _make_room(self) -> None:
        terms, total = self._terms, sum(kept.bytes for kept in self._kept.values())
        oldest_wanted = self._now() - terms.days * SECONDS_A_DAY
        for place, kept in list(self._kept.items()):
            is_too_much = total > terms.bytes or len(self._kept) > terms.count
            if not is_too_much and kept.since >= oldest_wanted:
                return
            total -= kept.bytes
            self._drop(place)

    def _drop(self, place: str) -> None:
        self._take_out(self._kept.pop(place).container_id)

    def _take_out(self, container_id: str) -> None:
        """Out of sight in one step; deleting takes its time."""
        path = self._root / container_id
        gone = path.with_name(f".gone-{path.stat().st_ino}")
        self._dropped.append(path.rename(gone))


def _place(container_id: str) -> tuple[str, int]:
    """The slot's container that `<slot>.<attempt>.<container>` is of, and the attempt."""
    instance, _, container = container_id.rpartition(".")
    slot, _, attempt = instance.rpartition(".")
    return f"{slot}/{container}", int(attempt) if attempt.isdecimal() else 0


def _size(directory: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(directory))
