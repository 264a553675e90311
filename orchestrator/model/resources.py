"""Resources: what a node has and what an instance asks for.

People write cores and megabytes; sums are made in whole milli-units, so that they never drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Quantities = Mapping[str, int]
"""Milli-units by resource name: `cpu_cores` 0.5 is 500, `memory_mb` 64 is 64000."""


NAMED = ("cpu_cores", "memory_mb", "disk_mb")
"""The resources that every node has; the others are somebody's own."""

GPU = "gpu"
"""A custom resource of which each unit is a device that is given out by itself."""

MILLI = 1000
"""What one unit is in `Quantities`."""


@dataclass(frozen=True, slots=True)
class NodeResources:
    """Amounts by resource: `cpu_cores` in cores, `*_mb` in 10^6 bytes, custom ones in units."""

    cpu_cores: float = 0.0
    memory_mb: float = 0.0
    disk_mb: float = 0.0
    custom: dict[str, float] = field(default_factory=dict)

    def quantities(self) -> Quantities:
        """All of them in milli-units, without the zeroes."""
        named = {
            "cpu_cores": self.cpu_cores,
            "memory_mb": self.memory_mb,
            "disk_mb": self.disk_mb,
            **self.custom,
        }
        milli = {name: round(amount * 1000) for name, amount in named.items()}
        return MappingProxyType({name: amount for name, amount in milli.items() if amount})


def total(parts: Iterable[Quantities]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def shown(resource: str, milli: int) -> str:
    """An amount for people, and of what: `1.5 cores`, `64 MB of memory`, `2 gpu`."""
    things = {"memory_mb": " of memory", "disk_mb": " of disk"}
    return amount(resource, milli) + things.get(resource, "")


def amount(resource: str, milli: int) -> str:
    """The same where everybody knows of what: `1.5 cores`, `64 MB`, `2 gpu`."""
    number = f"{milli / MILLI:.3f}".rstrip("0").rstrip(".")
    units = {"cpu_cores": "core" if number == "1" else "cores", "memory_mb": "MB", "disk_mb": "MB"}
    return f"{number} {units.get(resource, resource)}"
