"""Whether two snapshots say the same, column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from orchestrator.model.placement import PriorityClass
from orchestrator.model.workload import GpuNeed, WorkloadKey
from orchestrator.planning.occupancy import is_alike
from orchestrator.scheduler.facts import Column
from orchestrator.scheduler.snapshot import Claim, Snapshot


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """What they do not say alike, a line each. Counts of nothing may be there or not."""
    if one.facts.nodes != other.facts.nodes:
        return [f"nodes: {one.facts.nodes} / {other.facts.nodes}"]
    return [*_of_nodes(one, other), *_of_claims(one, other), *_of_workloads(one, other)]


def _of_nodes(one: Snapshot, other: Snapshot) -> Iterator[str]:
    yield from _of_columns("free", one.free, other.free)
    if one.gpus_free.tolist() != other.gpus_free.tolist():
        yield f"gpus_free: {one.gpus_free.tolist()} / {other.gpus_free.tolist()}"
    yield from _of_columns("leaving", one.leaving, other.leaving)
    for priority in PriorityClass:
        mine, theirs = one.staying[priority.rank], other.staying[priority.rank]
        yield from _of_columns(f"staying {priority}", mine, theirs)
    if one.held.tolist() != other.held.tolist():
        yield f"held: {one.held.tolist()} / {other.held.tolist()}"


def _of_columns(what: str, one: Mapping[str, Column], other: Mapping[str, Column]) -> Iterator[str]:
    mine, theirs = (
        {name: column.tolist() for name, column in each.items() if what == "free" or column.any()}
        for each in (one, other)
    )
    if mine != theirs:
        yield f"{what}: {mine} / {theirs}"


def _of_claims(one: Snapshot, other: Snapshot) -> Iterator[str]:
    for name in ("ports", "presence", "repulsions", "labels"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            yield f"{name}: {mine} / {theirs}"
    for node, mine, theirs in zip(one.facts.names, one.claims, other.claims, strict=True):
        if mine.keys() != theirs.keys():
            yield f"claims on {node}: {sorted(mine)} / {sorted(theirs)}"
        elif not all(_is_same(mine[each], theirs[each]) for each in mine):
            yield f"claims on {node}: {mine} / {theirs}"


def _of_workloads(one: Snapshot, other: Snapshot) -> Iterator[str]:
    if _gpu_needs(one) != _gpu_needs(other):
        yield f"gpu_shapes: {_gpu_needs(one)} / {_gpu_needs(other)}"
    for workload in one.presence:
        if one.budget(workload) != other.budget(workload):
            yield f"budget of {workload}: {one.budget(workload)} / {other.budget(workload)}"


def _gpu_needs(snapshot: Snapshot) -> Counter[tuple[WorkloadKey, GpuNeed | None]]:
    """How many of each there are; shapes themselves are equal only if they are the same one."""
    needs: Counter[tuple[WorkloadKey, GpuNeed | None]] = Counter()
    for shape, count in snapshot.gpu_shapes.items():
        needs[shape.workload, shape.gpu] += count
    return +needs


def _is_same(one: Claim, other: Claim) -> bool:
    is_same = (one.instance, one.gpus, one.is_leaving) == (
        other.instance,
        other.gpus,
        other.is_leaving,
    )
    return is_same and is_alike(one.shape, other.shape)
