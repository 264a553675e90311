"""Local volumes: the data that a slot of a workload has on a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.model.errors import StateError
from orchestrator.model.instance import is_counter
from orchestrator.model.workload import WorkloadKey


class VolumeName(NamedTuple):
    """`<namespace>.<workload>.<slot>.<volume>`: it outlives the instances of its slot."""

    namespace: str
    workload: str
    slot: int
    volume: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.workload}.{self.slot}.{self.volume}"

    @property
    def workload_key(self) -> WorkloadKey:
        return WorkloadKey(self.namespace, self.workload)

    @classmethod
    def parse(cls, text: str) -> VolumeName:
        """Raises `StateError` for anything else than four parts, the third a number."""
        parts = text.split(".")
        if len(parts) != 4 or not is_counter(parts[2]):
            raise StateError(
                f"{text!r} is no volume name: it must be <namespace>.<workload>.<slot>.<volume>"
            )
        return cls(parts[0], parts[1], int(parts[2]), parts[3])


@dataclass(frozen=True, slots=True)
class NodeVolume:
    """The record under `observed/volumes/<node>/<volume>`, by that node's agent: the data of that
    slot are there, and its instances go nowhere else.

    `created_at`: seconds since 1970 on the node's own clock. `size_mb` None: nobody has measured.
    """

    created_at: float
    size_mb: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ListedVolume:
    """A local volume as the API lists it. `used_by` are the instances of its slot on its node that
    have not ended. `size_mb` None: nobody has measured; `note` may say why."""

    name: str
    namespace: str
    workload: str
    node: str
    created_at: float
    used_by: tuple[str, ...] = ()
    size_mb: float | None = None
    note: str = ""
