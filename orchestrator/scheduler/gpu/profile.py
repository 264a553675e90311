"""The demand seen so far: what a policy may know of what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.scheduler.gpu.table import GpuDemand


@dataclass(slots=True)
class DemandProfile:
    """How many instances of each demand are placed or wait; the caller keeps it up to date.

    `changes` counts all that was ever added or removed, so that a policy knows when what it
    has derived from the profile is old.
    """

    counts: Counter[GpuDemand] = field(default_factory=Counter)
    total: int = 0
    changes: int = 0

    def add(self, demand: GpuDemand, number: int = 1) -> None:
        self.counts[demand] += number
        self.total += number
        self.changes += number

    def remove(self, demand: GpuDemand, number: int = 1) -> None:
        assert self.counts[demand] >= number, f"{demand} was not added that often"
        self.counts[demand] -= number
        if not self.counts[demand]:
            del self.counts[demand]
        self.total -= number
        self.changes += number

    def ordered(self) -> list[tuple[GpuDemand, int]]:
        """The same list whatever the order in which the demands came."""
        return sorted(self.counts.items(), key=_fields)


def _fields(counted: tuple[GpuDemand, int]) -> tuple[tuple[int, ...], int, int, int]:
    """Sorts as the demands do, ten times as fast."""
    demand, _ = counted
    return demand.rest, demand.gpu_milli, demand.count, demand.models


def profile_of(counts: Mapping[GpuDemand, int]) -> DemandProfile:
    profile = DemandProfile()
    for demand, number in counts.items():
        profile.add(demand, number)
    return profile
