"""Forecasts, critical nodes and planned moves as people read them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.descriptions import sections
from orchestrator.cli.tables import Column, format_table, lines_of

if TYPE_CHECKING:
    from orchestrator.model.forecast import (
        CriticalNode,
        Forecast,
        InstanceForecast,
        NodeForecast,
        Stranded,
        WorkloadForecast,
    )
    from orchestrator.model.moves import PlannedMove, Rebalance

T = TypeVar("T")


def forecast_text(forecast: Forecast) -> str:
    """The gist first, then instance by instance, the workloads that fall short, and the nodes."""
    helpful = [
        f"{each.workload}: {text}" for each in forecast.workloads for text in each.suggestions
    ]
    return sections(
        ("", gist(forecast)),
        ("Instances", _table(_INSTANCES, forecast.instances)),
        ("Workloads", _table(_WORKLOADS, forecast.workloads)),
        ("What would help", "\n".join(helpful)),
        ("Nodes", _table(_NODES, forecast.nodes)),
    )


def gist(forecast: Forecast) -> str:
    """`3 instances: 2 moved, 1 lost; done after 30 s; 1 instance has no node in the end`."""
    fates = Counter(each.fate.value for each in forecast.instances)
    count = _counted(len(forecast.instances), "instance")
    told = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items()))
    parts = [f"{count}: {told}" if told else "nothing changes"]
    if forecast.seconds:
        parts.append(f"done after {forecast.seconds:g} s")
    if missing := sum(each.missing for each in forecast.unplaced):
        parts.append(f"{_counted(missing, 'instance')} would not run in the end")
    if low := [each.workload for each in forecast.workloads if each.is_below_minimum]:
        parts.append(f"below the minimum on the way: {', '.join(low)}")
    if not forecast.is_settled:
        parts.append("more would follow than was looked at")
    return "; ".join(parts)


def critical_text(nodes: Sequence[CriticalNode]) -> str:
    if not nodes:
        return "any single node can be lost"
    rows = [(node, stranded) for node in nodes for stranded in node.stranded]
    return format_table(lines_of(_STRANDED, rows))


def rebalance_text(planned: Rebalance) -> str:
    before, after = _percent(planned.before), _percent(planned.after)
    if not planned.moves:
        is_even = planned.before <= planned.target
        why = "as it should be" if is_even else "and no move that is allowed would lower it"
        return f"the imbalance is {before}, {why}"
    moves = _counted(len(planned.moves), "move")
    table = format_table(lines_of(_MOVES, planned.moves))
    return f"{table}\n\n{moves}: the imbalance goes from {before} to {after}"


def _table(columns: Sequence[Column[T]], rows: Sequence[T]) -> str:
    return format_table(lines_of(columns, rows)) if rows else ""


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _percent(thousandths: int | None) -> str:
    return "-" if thousandths is None else f"{thousandths / 10:g}%"


_INSTANCES: Sequence[Column[InstanceForecast]] = (
    Column("CHANGE", lambda each: each.fate.value),
    Column("INSTANCE", lambda each: each.instance),
    Column("FROM", lambda each: each.from_node),
    Column("TO", lambda each: each.to_node),
    Column("REASON", lambda each: each.reason),
)

_WORKLOADS: Sequence[Column[WorkloadForecast]] = (
    Column("WORKLOAD", lambda each: each.workload),
    Column("WANTED", lambda each: str(each.wanted)),
    Column("BEFORE", lambda each: str(each.running_before)),
    Column("LOWEST", lambda each: str(each.lowest)),
    Column("AFTER", lambda each: str(each.running_after)),
    Column("MINIMUM", lambda each: "" if each.min_available is None else str(each.min_available)),
    Column("WAITING", lambda each: "; ".join(each.waiting[:1])),
)

_NODES: Sequence[Column[NodeForecast]] = (
    Column("NODE", lambda each: each.node),
    Column("INSTANCES", lambda each: f"{each.instances_before}->{each.instances_after}"),
    Column("LOAD", lambda each: f"{_percent(each.load_before)}->{_percent(each.load_after)}"),
)

_STRANDED: Sequence[Column[tuple[CriticalNode, Stranded]]] = (
    Column("NODE", lambda row: row[0].node),
    Column("WORKLOAD", lambda row: row[1].workload),
    Column("STRANDED", lambda row: str(row[1].count)),
    Column("REASON", lambda row: row[1].reason),
)

_MOVES: Sequence[Column[PlannedMove]] = (
    Column("INSTANCE", lambda each: each.instance),
    Column("FROM", lambda each: each.from_node),
    Column("TO", lambda each: each.to_node),
    Column("REASON", lambda each: each.reason),
)
