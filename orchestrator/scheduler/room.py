"""What there is on one node once some of its instances have gone: on behalf of those who would
take their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from orchestrator.scheduler.facts import Column, Mask, bounded
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Claim, Snapshot


def fits_without(trial: Snapshot, shape: Shape, at: int, gone: Sequence[Claim]) -> bool:
    """Whether the node has the room once they are gone."""
    if _shortages(trial, shape, at, gone):
        return False
    taken = {port: trial.ports.get(port, {}).get(at, 0) for port in shape.host_ports}
    for claim in gone:
        for port in claim.shape.host_ports & shape.host_ports:
            taken[port] -= 1
    return not any(taken.values()) and gpus_without(trial, shape, at, gone) is not None


def _shortages(trial: Snapshot, shape: Shape, at: int, gone: Sequence[Claim]) -> dict[str, int]:
    """By resource: how much is missing once they are gone."""
    shortages = {}
    for name, amount in shape.quantities.items():
        short = amount
        if amount and name in trial.free:
            back = sum(bounded(claim.shape.quantities.get(name, 0)) for claim in gone)
            short -= int(trial.free[name][at]) + back
        if short > 0:
            shortages[name] = short
    return shortages


def in_the_way(
    trial: Snapshot, shape: Shape, at: int, leaving: Sequence[Claim]
) -> Callable[[Claim], bool]:
    """Whether a claim holds anything of what is missing; without those that do not, all is as
    well."""
    missing = _shortages(trial, shape, at, leaving)
    lacks_gpus = gpus_without(trial, shape, at, leaving) is None

    def is_in_the_way(claim: Claim) -> bool:
        return (
            any(claim.shape.quantities.get(name, 0) > 0 for name in missing)
            or bool(claim.shape.host_ports & shape.host_ports)
            or (lacks_gpus and bool(claim.gpus))
        )

    return is_in_the_way


def gpus_without(
    trial: Snapshot, shape: Shape, at: int, gone: Iterable[Claim]
) -> tuple[int, ...] | None:
    """The devices that the shape is given once they are gone, the fullest first; None if they do
    not do."""
    need = shape.gpu
    if need is None:
        return ()
    free = trial.gpus_free[at].copy()
    for claim in gone:
        for device in claim.gpus:
            if claim.shape.gpu and 0 <= device < len(free):  # rows may name what is not there
                free[device] += claim.shape.gpu.milli
    allowed = trial.facts.has_models(need.models)[at] & (free >= need.milli)
    devices = np.flatnonzero(allowed)
    if len(devices) < need.count:
        return None
    best = devices[np.argsort(free[devices], kind="stable")[: need.count]]
    return tuple(sorted(best.tolist()))


def has_room(trial: Snapshot, shape: Shape, going: Sequence[dict[str, Column]]) -> Mask:
    """Whether the resources would do without all that `going` counts: a bound, for GPUs and ports
    are not looked at."""
    has_room: Mask = np.ones(len(trial.facts), dtype=np.bool_)
    for name, amount in shape.quantities.items():
        if amount == 0:
            continue
        free = trial.free.get(name)
        if free is None:
            return np.zeros(len(trial.facts), dtype=np.bool_)
        for columns in going:
            if name in columns:
                free = free + columns[name]
        has_room &= free >= amount
    return has_room
