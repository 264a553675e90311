"""A machine that runs nothing: containers as timers. They live on when the agent dies."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.log_files import first_time
from orchestrator.runtime.outcome import UNSEEN, never_started, with_grace, with_last_words
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    LogLine,
    LogQuery,
)
from orchestrator.runtime.simulated_watchdog import SimulatedWatchdog
from orchestrator.runtime.supervisor.log import rfc3339

SIGTERM_CODE = 128 + 15
SIGKILL_CODE = 128 + 9

Output = Callable[[ContainerSpec], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Program:
    """What a command does when it is run.

    `start_seconds` overrides the host's; with `inf` the start hangs. `start_error` is why it
    does not start. `output` gives (stream, line) pairs, printed at the start.

    Run by exec it may also copy its input to its output (and end with it), or tell the size of
    its terminal, at the start and whenever that changes. It uses `cpu_cores` all the time.
    """

    runs_seconds: float = inf
    exit_code: int = 0
    start_seconds: float | None = None
    start_error: str = ""
    ignores_sigterm: bool = False
    is_unkillable: bool = False
    loses_exit_code: bool = False
    output: Output = lambda _spec: ()
    copies_input: bool = False
    shows_size: bool = False
    cpu_cores: float = 0.01
    memory_mb: float = 10.0


class SimulatedContainer(Lifecycle):
    def __init__(self, host: SimulatedHost, spec: ContainerSpec, program: Program) -> None:
        super().__init__(spec)
        self.lines: list[LogLine] = []
        self.pulse = asyncio.Event()
        """Set, and replaced, when a line is added or the container ends."""
        self.program = program
        self._host = host
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self, delay_seconds: float, happens: Callable[[], None]) -> None:
        """Instead of what was going to happen."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._host.later(delay_seconds, happens)

    def begin(self) -> None:
        program, spec = self.program, self.status.spec
        if program.start_error:
            self.status = never_started(spec, program.start_error, self._host.now())
            self._over()
            return
        self.status = replace(
            self.status,
            state=ContainerState.RUNNING,
            pid=self._host.next_pid(),
            started_at=self._host.now(),
        )
        for stream, text in program.output(spec):
            self.add_line(stream, text)
        self.schedule(program.runs_seconds, lambda: self.end(program.exit_code))
        self.settled.set()
        self._host.woken()

    def end(self, exit_code: int | None) -> None:
        """None: nobody sees the exit code."""
        if self.status.state is not ContainerState.RUNNING:
            return
        is_lost = exit_code is None or self.program.loses_exit_code
        status = replace(
            self.status,
            state=ContainerState.EXITED,
            pid=None,
            exit_code=None if is_lost else exit_code,
            reason=UNSEEN if is_lost else "",
            finished_at=self._host.now(),
        )
        status = with_grace(status, self.outlived_seconds)
        self.status = with_last_words(status, self._last_stderr)
        self._over()

    def ask_to_end(self, *, by_force: bool) -> None:
        program = self.program
        if self.ended.is_set() or program.is_unkillable:
            return
        if by_force:
            self.end(SIGKILL_CODE)
        elif not program.ignores_sigterm:
            self.schedule(self._host.stop_seconds(), lambda: self.end(SIGTERM_CODE))

    def add_line(self, stream: str, text: str) -> None:
        self.lines.append(LogLine(rfc3339(round(self._host.now() * 1e9)), stream, text))
        self._beat()

    def usage(self) -> ContainerUsage:
        spec, program = self.status.spec, self.program
        ran_seconds = self._host.now() - (self.status.started_at or 0.0)
        return ContainerUsage(
            spec.id,
            spec.instance,
            spec.container,
            cpu_seconds=ran_seconds * program.cpu_cores,
            memory_mb=program.memory_mb,
            memory_limit_mb=spec.limits.memory_mb or None,
            processes=1,
        )

    def _last_stderr(self) -> str:
        texts = (line.text for line in reversed(self.lines) if line.stream == "stderr")
        return next(texts, "")

    def _over(self) -> None:
        self.schedule(inf, lambda: None)
        self.settled.set()
        self.ended.set()
        self._beat()
        self._host.woken()

    def _beat(self) -> None:
        beaten, self.pulse = self.pulse, asyncio.Event()
        beaten.set()


class SimulatedLogs:
    """`KeptLogs` of such a machine, as `previous_logs` keeps them on a disk."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str], tuple[str, list[LogLine]]] = {}

    def keep(self, container: SimulatedContainer) -> None:
        spec = container.status.spec
        slot = spec.instance.rpartition(".")[0]
        self._by_place[slot, spec.container] = spec.id, container.lines

    def ids(self) -> Iterable[str]:
        return [container_id for container_id, _ in self._by_place.values()]

    def read(self, container_id: str, query: LogQuery) -> AsyncGenerator[LogLine, None] | None:
        lines = dict(self._by_place.values()).get(container_id)
        return None if lines is None else _each(asked_for(lines, query))


async def _each(lines: Sequence[LogLine]) -> AsyncGenerator[LogLine, None]:
    for line in lines:
        yield line


def asked_for(lines: Sequence[LogLine], query: LogQuery) -> Sequence[LogLine]:
    """Of those that there are so far."""
    since = first_time(query)
    first = 0 if query.tail is None else max(0, len(lines) - query.tail)
    return [line for line in lines[first:] if line.time >= since]


class SimulatedHost:
    """`programs` says what each command does (its first word); others do as `default`, and
    without one they are not found. Latencies are drawn evenly from ranges of seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        programs: Mapping[str, Program] = MappingProxyType({}),
        default: Program | None = Program(),
        start_seconds: tuple[float, float] = (0.005, 0.05),
        stop_seconds: tuple[float, float] = (0.0, 0.05),
    ) -> None:
        self.now = clock
        self.containers: dict[str, SimulatedContainer] = {}
        self.kept = SimulatedLogs()
        self.wake: Callable[[], None] = lambda: None
        self._rng = rng
        self._programs = dict(programs)
        self._default = default
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._pids = 1000
        # Timers that an agent's call starts are the machine's: whatever a simulation attaches to
        # the agent's context (that it is frozen, say) must not hold for them.
        self._context = contextvars.copy_context()
        self.watchdog = SimulatedWatchdog(self)

    def start(self, spec: ContainerSpec) -> SimulatedContainer:
        program = self.program_of(spec.argv[0])
        if program is None:
            program = Program(start_error=f"command {spec.argv[0]!r} is not found")
        container = self.containers[spec.id] = SimulatedContainer(self, spec, program)
        drawn = self._rng.uniform(*self._start_seconds)
        delay = drawn if program.start_seconds is None else program.start_seconds
        container.schedule(delay, container.begin)
        return container

    def program_of(self, command: str) -> Program | None:
        return self._programs.get(command, self._default)

    def crash(self, container_id: str, exit_code: int | None = SIGKILL_CODE) -> None:
        """It ends by itself, now. None: and nobody sees its exit code."""
        self.containers[container_id].end(exit_code)

    def write(self, container_id: str, stream: str, text: str) -> None:
        """A container prints a line."""
        self.containers[container_id].add_line(stream, text)

    def program(self, command: str, program: Program) -> None:
        """From now on `command` does this."""
        self._programs[command] = program

    def reboot(self) -> None:
        """Nothing runs any more, and nobody saw it end. What was starting has left no trace."""
        self.watchdog.reboot()
        for container in list(self.containers.values()):
            if container.status.state is ContainerState.CREATED:
                container.schedule(inf, lambda: None)
                del self.containers[container.status.spec.id]
            container.end(None)

    def later(self, seconds: float, happens: Callable[[], None]) -> asyncio.TimerHandle | None:
        if seconds == inf:
            return None
        return asyncio.get_running_loop().call_later(seconds, happens, context=self._context)

    def stop_seconds(self) -> float:
        return self._rng.uniform(*self._stop_seconds)

    def next_pid(self) -> int:
        self._pids += 1
        return self._pids

    def woken(self) -> None:
        self.wake()
