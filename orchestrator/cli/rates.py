"""What is used, as rates: two measurements and the time between them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.model.usage import ContainerUsed, NodeUsage


@dataclass(frozen=True, slots=True)
class Used:
    """What something uses of what it may. `cpu_cores` is None if it was seen only once; a limit
    is None where there is none. `containers` is how many run."""

    name: str
    node: str
    cpu_cores: float | None
    cpu_limit_cores: float | None
    memory_mb: float
    memory_limit_mb: float | None
    containers: int

    @property
    def cpu_percent(self) -> float | None:
        return _percent(self.cpu_cores, self.cpu_limit_cores)

    @property
    def memory_percent(self) -> float | None:
        return _percent(self.memory_mb, self.memory_limit_mb)


def by_instance(before: Iterable[NodeUsage], after: Iterable[NodeUsage]) -> list[Used]:
    """The one that uses most time first."""
    rates, rows = _rates(before, after), []
    for node in after:
        containers: defaultdict[str, list[ContainerUsed]] = defaultdict(list)
        for each in node.containers:
            containers[each.instance].append(each)
        rows += [
            Used(
                instance,
                node.node,
                _sum([rates.get((node.node, instance, each.container)) for each in its]),
                _sum([each.cpu_limit_cores for each in its]),
                sum(each.memory_mb for each in its),
                _sum([each.memory_limit_mb for each in its]),
                len(its),
            )
            for instance, its in containers.items()
        ]
    return sorted(rows, key=lambda row: (-(row.cpu_cores or 0.0), row.name))


def by_node(
    before: Iterable[NodeUsage],
    after: Iterable[NodeUsage],
    room: Mapping[str, tuple[float, float]],
) -> list[Used]:
    """Of nodes that have answered: what the containers there use of its `room`, the cores and the
    MB that there are for them."""
    rates, rows = _rates(before, after), []
    for node in after:
        if node.problem:
            continue
        cores = [rate for (name, _, _), rate in rates.items() if name == node.node]
        room_cores, room_mb = room.get(node.node, (0.0, 0.0))
        rows.append(
            Used(
                node.node,
                node.node,
                sum(cores) if cores or not node.containers else None,
                room_cores or None,
                sum(each.memory_mb for each in node.containers),
                room_mb or None,
                len(node.containers),
            )
        )
    return sorted(rows, key=lambda row: row.name)


_Key = tuple[str, str, str]


def _rates(before: Iterable[NodeUsage], after: Iterable[NodeUsage]) -> dict[_Key, float]:
    """Cores in use, by node, instance and container, of what was measured twice."""
    earlier = {node.node: node for node in before}
    rates: dict[_Key, float] = {}
    for node in after:
        first = earlier.get(node.node)
        seconds = node.measured_at - first.measured_at if first else 0.0
        if first is None or seconds <= 0:
            continue
        known = {(each.instance, each.container): each.cpu_seconds for each in first.containers}
        for each in node.containers:
            since = known.get((each.instance, each.container))
            if since is not None:
                used = max(0.0, each.cpu_seconds - since)  # a restarted agent may know of less
                rates[node.node, each.instance, each.container] = used / seconds
    return rates


def _sum(parts: Sequence[float | None]) -> float | None:
    """None if any part is unknown."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _percent(used: float | None, limit: float | None) -> float | None:
    return None if used is None or not limit else 100 * used / limit
