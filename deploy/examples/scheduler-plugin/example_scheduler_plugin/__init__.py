"""An example of both kinds of scheduler plug-in: each answers for all nodes at once."""

from __future__ import annotations

import numpy as np

from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.protocol import Shape
from orchestrator.scheduler.snapshot import Snapshot


class MaintenanceWindow:
    """Nodes with the label `maintenance` take only workloads with the label `interruptible`."""

    name = "maintenance-window"

    def passes(self, snapshot: Snapshot, shape: Shape) -> Mask:
        if "interruptible" in shape.labels:
            return np.ones(len(snapshot.facts), dtype=np.bool_)
        return np.array(["maintenance" not in node.labels for node in snapshot.facts.nodes])


class CheapPower:
    """Prefers nodes where power is cheap: the label `power-price` holds cents per kWh."""

    name = "cheap-power"

    def points(self, snapshot: Snapshot, shape: Shape) -> Column:
        prices = [float(node.labels.get("power-price", 100)) for node in snapshot.facts.nodes]
        return np.clip(100 - np.rint(prices), 0, 100).astype(np.int64)
