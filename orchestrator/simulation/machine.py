"""A machine that runs nothing: what stands in for its hardware, its ports and its disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.agent.node_report import NodeProfile
from orchestrator.agent.ports import PortPicker
from orchestrator.model.node import NodeReport
from orchestrator.model.resources import NodeResources
from orchestrator.runtime.protocol import RuntimeReport
from orchestrator.runtime.simulated_host import SimulatedHost

CAPACITY = NodeResources(cpu_cores=4.0, memory_mb=8000.0, disk_mb=100_000.0)


@dataclass
class Machine:
    """A node: its disk, what runs on it, and the agent's present life, if there is one."""

    name: str
    path: Path
    host: SimulatedHost
    life: asyncio.Task[None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    accepts_store: bool = False

    @property
    def is_attended(self) -> bool:
        """Whether its agent is there, be it frozen or cut off."""
        return self.life is not None and not self.life.done()


class SimulatedPorts(PortPicker):
    """No port is taken by anything but instances."""

    def _is_free(self, _protocol: str, _port: int) -> bool:
        return True


def survey(profile: NodeProfile, runtime: RuntimeReport, _data_dir: Path) -> NodeReport:
    """The same on every real machine."""
    return NodeReport(profile.address, CAPACITY, CAPACITY, runtimes=runtime.kinds)
