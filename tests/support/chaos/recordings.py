"""What the recorder has heard of a cluster of etcd: one history, or whose fault it is that not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.simulation.history import Entry
from tests.support.etcd import EtcdCluster
from tests.support.orc_process import ROOT

CATCH_UP_SECONDS = 30.0
NANOSECONDS = 1_000_000_000


class EtcdAtFault(AssertionError):
    """The run says nothing about us: etcd itself has lost or changed what it had told."""


@dataclass(frozen=True, slots=True)
class Recording:
    """All changes in order, and when each revision was first heard of: CLOCK_BOOTTIME, seconds."""

    entries: Sequence[Entry]
    time_of: Mapping[int, float]

    @property
    def newest(self) -> int:
        return self.entries[-1].revision if self.entries else 0


class Recorder(AbstractContextManager["Recorder"]):
    """Records two members, so that each bears witness against the other, or the only one."""

    def __init__(self, etcd: EtcdCluster, folder: Path) -> None:
        self._folder = folder
        self._endpoints = etcd.endpoints[:2]
        self._process: subprocess.Popen[bytes] | None = None

    def recording(self, revision: int) -> Recording:
        """Of the history up to `revision` at least, as soon as all have told of it.

        Raises `EtcdAtFault` when a revision is missing, or when members tell different things.
        """
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            told = [self._told_by(number) for number in range(len(self._endpoints))]
            newest = [lines[-1]["revision"] if lines else 0 for lines in told]
            if min(newest) >= revision:
                return agreed(told)
            assert self._process, "the recorder has not been started"
            assert self._process.poll() is None, f"the recorder has ended: see {self._folder}"
            assert time.monotonic() < deadline, f"etcd is at {revision}, members tell of {newest}"
            time.sleep(0.05)

    def _told_by(self, number: int) -> list[dict[str, Any]]:
        """Whole lines only: the last one may be being written."""
        path = self._folder / f"member-{number}.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def start_anew(self) -> None:
        """Forget everything, and ask for the whole history again: etcd is another one now."""
        self._end()
        for told in self._folder.glob("*.jsonl"):
            told.unlink()
        self._start()

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.support.chaos.recorder", str(self._folder)]
        with (self._folder / "recorder.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._endpoints], stderr=log, cwd=ROOT)

    def _end(self) -> None:
        assert self._process, "the recorder has not been started"
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Recorder:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()


def agreed(told: Sequence[Sequence[Mapping[str, Any]]]) -> Recording:
    """The one history that all members tell, as far as all of them have come."""
    newest = min(lines[-1]["revision"] for lines in told)
    common = [[line for line in lines if line["revision"] <= newest] for lines in told]
    first, *others = [[_without_time(line) for line in lines] for lines in common]
    for other in others:
        for ours, theirs in zip(first, other, strict=False):
            if ours != theirs:
                raise EtcdAtFault(f"members of etcd differ: {ours} and {theirs}")
        if len(first) != len(other):
            raise EtcdAtFault(f"members of etcd tell {len(first)} and {len(other)} changes")
    _no_holes(first)
    time_of: dict[int, float] = {}
    for line in (line for lines in common for line in lines):
        heard = line["heard_ns"] / NANOSECONDS
        time_of[line["revision"]] = min(heard, time_of.get(line["revision"], heard))
    return Recording(_entries(first), time_of)


def _without_time(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "heard_ns"}


def _no_holes(lines: Sequence[Mapping[str, Any]]) -> None:
    """etcd counts its changes from 2 on, and gives none a number that no change has."""
    before = 1
    for line in lines:
        revision = line["revision"]
        if not before <= revision <= before + 1:
            raise EtcdAtFault(f"etcd tells of revision {revision} right after {before}")
        before = revision


def _entries(lines: Sequence[Mapping[str, Any]]) -> list[Entry]:
    newest: dict[str, int] = {}
    entries = []
    for line in lines:
        key, revision, is_delete = line["key"], line["revision"], line["type"] == "DELETE"
        value = None if is_delete else base64.b64decode(line["value"])
        entries.append(Entry(revision, key, value, newest.get(key, 0)))
        newest[key] = 0 if is_delete else revision
    return entries
