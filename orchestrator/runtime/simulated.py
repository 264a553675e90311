"""The `ContainerRuntime` of the simulation, and of tests that need no processes.

The containers are the `SimulatedHost`'s. A runtime is an agent's hold on that machine; a restarted
agent makes another.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from orchestrator.model import errors
from orchestrator.runtime.attached import AttachedLog
from orchestrator.runtime.held import HoldingRuntime
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerUsage,
    ExecRequest,
    LogLine,
    LogQuery,
    NotExecuted,
    RuntimeReport,
    Streams,
)
from orchestrator.runtime.simulated_command import NOT_EXECUTABLE, NOT_FOUND, SimulatedCommand
from orchestrator.runtime.simulated_host import SimulatedContainer, SimulatedHost, asked_for
from orchestrator.runtime.watching import Trace


class SimulatedRuntime(HoldingRuntime[SimulatedContainer]):
    """A `ContainerRuntime` on a `SimulatedHost`; the newest one to be initialised is woken."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host.containers, host.kept)
        self._host = host

    async def init_node(self) -> RuntimeReport:
        self._host.wake = self._woken
        return RuntimeReport(("process",), {"simulated": "1"})

    def problem(self) -> str:
        return ""

    def trace(self, spec: ContainerSpec) -> Trace:
        return Trace(spec.id)

    async def close(self) -> None:
        if self._host.wake == self._woken:
            self._host.wake = lambda: None

    def _begin(self, spec: ContainerSpec) -> SimulatedContainer:
        if not spec.argv or not spec.argv[0]:
            raise errors.RuntimeError(f"{spec.id} has no command")
        return self._host.start(spec)

    async def _read(
        self, container: SimulatedContainer, query: LogQuery
    ) -> AsyncGenerator[LogLine, None]:
        index = len(container.lines)
        for line in asked_for(container.lines, query):
            yield line
        if query.follow:
            async with aclosing(_coming(container, index)) as lines:
                async for line in lines:
                    yield line

    async def _exec(self, container: SimulatedContainer, request: ExecRequest) -> Streams:
        if not request.argv or not request.argv[0]:
            raise errors.RuntimeError("there is no command to run: name one")
        program = self._host.program_of(request.argv[0])
        if program is None:
            raise NotExecuted(f"command {request.argv[0]!r} is not found", NOT_FOUND)
        if program.start_error:
            raise NotExecuted(program.start_error, NOT_EXECUTABLE)
        return SimulatedCommand(self._host, container, program, request)

    async def _attach(self, container: SimulatedContainer) -> Streams:
        return AttachedLog(container, _coming(container, len(container.lines)))

    async def _usage(self, container: SimulatedContainer) -> ContainerUsage | None:
        return container.usage()

    async def _clear_away(self, container: SimulatedContainer) -> None:
        self._host.kept.keep(container)


async def _coming(container: SimulatedContainer, index: int) -> AsyncGenerator[LogLine, None]:
    """The lines from that one on, until it has ended."""
    while True:
        is_last = container.ended.is_set()
        pulse = container.pulse
        for line in container.lines[index:]:
            index += 1
            yield line
        if is_last:
            return
        await pulse.wait()
