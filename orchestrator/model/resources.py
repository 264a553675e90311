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
    """An amount for people: `1.5 cores`, `64 MB`, `2 gpu`."""
    amount = f"{milli / 1000:.3f}".rstrip("0").rstrip(".")
    units = {"cpu_cores": "cores", "memory_mb": "MB of memory", "disk_mb": "MB of disk"}
    return f"{amount} {units.get(resource, resource)}"
