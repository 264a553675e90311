"""What really ran: workloads that tell the witness, and the lives that it has seen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from types import TracebackType

from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from orchestrator.simulation.sightings import Run
from tests.support.chaos.witness import PROGRAM
from tests.support.orc_process import ROOT

START_LIMIT_SECONDS = 20.0
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Life:
    """A process, and the run of an instance that it was; times are CLOCK_BOOTTIME, seconds."""

    pid: int
    run: Run

    @property
    def is_over(self) -> bool:
        return self.run.ended < inf


class Lives(AbstractContextManager["Lives"]):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "witness"
        self._process: subprocess.Popen[bytes] | None = None

    def workload(self, name: str, replicas: int = 1, **changes: object) -> WorkloadDefinition:
        """Of one process, which the witness knows for as long as it lives."""
        container = ContainerConfig(
            "main",
            command=(sys.executable, "-I", "-S", "-c", PROGRAM),
            env_vars={"WITNESS": str(self._socket)},
        )
        made = WorkloadDefinition(name, (container,), replicas=replicas, stop_grace_seconds=2.0)
        return replace(made, **changes)  # type: ignore[arg-type]  # the fields' own types

    def seen(self) -> list[Life]:
        """All that ever were, in the order in which they were noticed."""
        lives: dict[tuple[int, str, int], Life] = {}
        path = self._folder / "lives.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            told = json.loads(line)
            name, at = (told["pid"], told["instance"], told["epoch"]), told["at_ns"] / NANOSECONDS
            if told["what"] == "began":
                place = InstancePlace(told["node"], InstanceName.parse(told["instance"]))
                lives[name] = Life(told["pid"], Run(place, told["epoch"], at))
            else:
                lives[name].run.ended = at
        return list(lives.values())

    def living(self) -> list[Life]:
        return [life for life in self.seen() if not life.is_over]

    def __enter__(self) -> Lives:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.support.chaos.witness", str(self._socket)]
        self._process = subprocess.Popen([*command, str(self._folder / "lives.jsonl")], cwd=ROOT)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._socket.exists():
            assert self._process.poll() is None, "the witness has ended"
            assert time.monotonic() < deadline, "the witness does not start"
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process, "the witness has not been started"
        self._process.kill()
        self._process.wait()


def runs_of(lives: Sequence[Life], workload: str) -> list[Run]:
    return [life.run for life in lives if life.run.place.instance.workload == workload]
