"""Which variant of a multi-architecture image a machine runs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """In the words of OCI: `linux`, `arm64`, `v8`."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs images: `variants` of its architecture, the best first."""

    architecture: str
    variants: tuple[str, ...] = ("",)

    def __str__(self) -> str:
        return str(Platform("linux", self.architecture))

    def rank(self, offered: Platform) -> int | None:
        """Lower is better; None: it cannot run that."""
        if offered.os != "linux" or offered.architecture != self.architecture:
            return None
        if offered.variant not in self.variants:
            return None
        return self.variants.index(offered.variant)


_MACHINES = {
    "x86_64": Machine("amd64", ("", "v1")),
    "aarch64": Machine("arm64", ("v8", "")),
    "armv7l": Machine("arm", ("v7", "", "v6", "v5")),
    "armv6l": Machine("arm", ("v6", "", "v5")),
    "i686": Machine("386"),
}


def this_machine() -> Machine:
    name = platform.machine()
    return _MACHINES.get(name) or Machine(name)


def best(machine: Machine, offered: Sequence[Platform]) -> int | None:
    """The index of the best one, the first of equals; None if none can be run."""
    ranks = [
        (rank, index)
        for index, each in enumerate(offered)
        if (rank := machine.rank(each)) is not None
    ]
    return min(ranks)[1] if ranks else None
