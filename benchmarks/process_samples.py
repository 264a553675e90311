"""Memory and file descriptors of processes, looked at every half second."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from benchmarks.report import Report

LOOK_SECONDS = 0.5


class Sample(NamedTuple):
    memory_mb: float
    descriptors: int


@dataclass(slots=True)
class Samples:
    """By the name of a process; one that is started again goes on under its name."""

    processes: Callable[[], Mapping[str, psutil.Process]]
    by_name: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    @asynccontextmanager
    async def taken(
        cls, processes: Callable[[], Mapping[str, psutil.Process]]
    ) -> AsyncIterator[Samples]:
        """For as long as the body runs."""
        samples = cls(processes)
        samples.look()
        looking = asyncio.create_task(samples._look_on())
        try:
            yield samples
        finally:
            looking.cancel()
            samples.look()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        try:
            for name, process in self.processes().items():
                sample = Sample(process.memory_info().rss / 1e6, process.num_fds())
                self.by_name[name].append(sample)
        except psutil.NoSuchProcess:
            return  # one that has just been killed

    def tell(self, report: Report, title: str) -> None:
        """Of each but the simulated agents, who are no part of the product."""
        for name, samples in self.by_name.items():
            if name == "agents":
                continue
            for what, unit, values in (
                ("memory", "MB", [each.memory_mb for each in samples]),
                ("descriptors", "", [float(each.descriptors) for each in samples]),
            ):
                for when, value in (
                    ("start", values[0]),
                    ("most", max(values)),
                    ("end", values[-1]),
                ):
                    report.add(f"{title}: {name}: {what}, {when}", unit, [value])
