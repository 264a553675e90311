"""What would come of changes that nobody has made: written by the API, read by its client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """Of what holds one slot of a workload."""

    MOVED = "moved"
    RENEWED = "renewed"
    """A new attempt on the same node."""
    PLACED = "placed"
    STOPPED = "stopped"
    LOST = "lost"
    """It stays where nobody can reach it, since it has no other node, or is not to be replaced."""


@dataclass(frozen=True, slots=True)
class InstanceForecast:
    """`instance` is the last one of its slot; `displaced_by` is whom the one before made room
    for."""

    fate: Fate
    instance: str
    reason: str
    from_node: str = ""
    to_node: str = ""
    displaced_by: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadForecast:
    """One that is short of instances on the way, or at the end.

    `lowest` is the fewest that run at any moment. `waiting` says what is missing at the end and
    why; `suggestions` are changes of which each would let one more instance be placed.
    """

    workload: str
    wanted: int
    running_before: int
    lowest: int
    running_after: int
    min_available: int | None = None
    waiting: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """At the end."""
        return max(0, self.wanted - self.running_after)

    @property
    def is_below_minimum(self) -> bool:
        """At any moment, though it was not when all began."""
        return self.min_available is not None and self.lowest < min(
            self.min_available, self.running_before
        )


@dataclass(frozen=True, slots=True)
class NodeForecast:
    """A node on which something changes. Loads are the largest share of any resource that is
    claimed, in thousandths; None while the node is not there."""

    node: str
    instances_before: int
    instances_after: int
    load_before: int | None
    load_after: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is not named stays as it is. `seconds` of waiting go by until all is done; unless
    `is_settled`, more would follow than was looked at."""

    is_settled: bool
    seconds: float
    instances: tuple[InstanceForecast, ...] = ()
    workloads: tuple[WorkloadForecast, ...] = ()
    nodes: tuple[NodeForecast, ...] = ()

    @property
    def unplaced(self) -> tuple[WorkloadForecast, ...]:
        """Those that lack instances at the end."""
        return tuple(each for each in self.workloads if each.missing)


@dataclass(frozen=True, slots=True)
class Stranded:
    """How many instances of a workload would run no more, and why."""

    workload: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class CriticalNode:
    """A node whose loss leaves something without a node. `instances` are those that run there."""

    node: str
    instances: int
    stranded: tuple[Stranded, ...]
