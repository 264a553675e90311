"""How full nodes are: the largest share of any resource that is claimed on each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.model.resources import MILLI
from orchestrator.scheduler.facts import Column
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Snapshot

EVERY = slice(None)


def node_loads(
    snapshot: Snapshot, places: Sequence[int] | slice = EVERY, plus: Shape | None = None
) -> Column:
    """In thousandths, of the nodes with these indices, as if each took one more of shape `plus`.

    GPUs count as one resource. A node that has nothing has no load; one that has shrunk, or whose
    rows were edited, may be above 1000.
    """
    facts = snapshot.facts
    amounts = plus.quantities if plus else {}
    devices = facts.gpus[places] >= 0
    taken = np.where(devices, MILLI - snapshot.gpus_free[places], 0).sum(axis=1)
    if plus is not None and plus.gpu is not None:
        taken = taken + plus.gpu.milli * plus.gpu.count
    loads = _shares(MILLI * devices.sum(axis=1), taken)
    for name, column in facts.allocatable.items():
        has = column[places]
        loads = np.maximum(
            loads, _shares(has, has - snapshot.free[name][places] + amounts.get(name, 0))
        )
    return loads


def _shares(has: Column, taken: Column) -> Column:
    shares: Column = np.where(has > 0, taken * 1000 // np.maximum(has, 1), 0)
    return shares


def imbalance(snapshot: Snapshot) -> int:
    """By how much the fullest of the nodes that take instances is above the emptiest."""
    loads = node_loads(snapshot)[snapshot.facts.is_open]
    return int(loads.max() - loads.min()) if len(loads) else 0
