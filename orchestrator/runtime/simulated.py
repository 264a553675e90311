"""The `ContainerRuntime` of the simulation, and of tests that need no processes.

The containers are the `SimulatedHost`'s. A runtime is an agent's hold on that machine; a restarted
agent makes another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from orchestrator.model import errors
from orchestrator.runtime.held import HoldingRuntime
from orchestrator.runtime.protocol import ContainerSpec, LogLine, RuntimeReport
from orchestrator.runtime.simulated_host import SimulatedContainer, SimulatedHost


class SimulatedRuntime(HoldingRuntime[SimulatedContainer]):
    """A `ContainerRuntime` on a `SimulatedHost`; the newest one to be initialised is woken."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host.containers)
        self._host = host

    async def init_node(self) -> RuntimeReport:
        self._host.wake = self._woken
        return RuntimeReport(("process",), {"simulated": "1"})

    async def close(self) -> None:
        if self._host.wake == self._woken:
            self._host.wake = lambda: None

    def _begin(self, spec: ContainerSpec) -> SimulatedContainer:
        if not spec.argv or not spec.argv[0]:
            raise errors.RuntimeError(f"{spec.id} has no command")
        return self._host.start(spec)

    async def _read(
        self, container: SimulatedContainer, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        index = 0 if tail is None else max(0, len(container.lines) - tail)
        while True:
            is_last = container.ended.is_set() or not follow
            pulse = container.pulse
            for line in container.lines[index:]:
                index += 1
                yield line
            if is_last:
                return
            await pulse.wait()

    async def _clear_away(self, _container: SimulatedContainer) -> None:
        """There is nothing but what was held."""
