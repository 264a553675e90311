"""Runtimes under one contract: the same commands, as processes and as simulated programs."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import (
    ContainerRuntime,
    ContainerSpec,
    ContainerState,
    ContainerStatus,
)
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from orchestrator.runtime.supervised import ProcessLimits

DEADLINE_SECONDS = 30.0
MARK = "ORC_TEST_MARK"


async def until_exited(runtime: ContainerRuntime, container_id: str) -> ContainerStatus:
    return await until(runtime, container_id, lambda status: status.state is ContainerState.EXITED)


async def until(
    runtime: ContainerRuntime, container_id: str, holds: Callable[[ContainerStatus], bool]
) -> ContainerStatus:
    """Looks again whenever the runtime wakes us, and only then."""
    changed = asyncio.Event()
    runtime.on_change(changed.set)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (status := await runtime.status(container_id)) is None or not holds(status):
            await changed.wait()
            changed.clear()
    return status


class World(ABC):
    """A node, and an agent's runtime on it that can be opened again and again.

    `command` names what a container does:
    exit-<code>, run, burn (time), be-deaf (to SIGTERM), kill-itself, print, complain (and end
    well), fail (with a last word), wait (print "one", and "two" when released), show-environment,
    missing.
    By exec also: copy (its input to its output), show-size (of its terminal, when it changes too).
    """

    kind = "process"

    def __init__(self) -> None:
        self._opened: list[ContainerRuntime] = []

    async def open(self) -> ContainerRuntime:
        """As an agent does that starts, after another one that is gone."""
        for runtime in self._opened:
            await runtime.close()
        runtime = self._runtime()
        self._opened = [runtime]
        await runtime.init_node()
        return runtime

    def spec(self, container_id: str, command: str, *, assignment: int = 1) -> ContainerSpec:
        instance, _, container = container_id.rpartition(".")
        return ContainerSpec(
            id=container_id,
            instance=instance,
            container=container,
            assignment=assignment,
            argv=self.argv(command),
            env={"GREETING": "good day", **self._environment()},
        )

    @abstractmethod
    async def release(self, container_id: str) -> None:
        """Let a container that does `wait` print its second line and exit with 0."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop everything, and fail if anything is left."""

    @abstractmethod
    def _runtime(self) -> ContainerRuntime: ...

    @abstractmethod
    def argv(self, command: str) -> tuple[str, ...]:
        """What runs a command of these names."""

    def _environment(self) -> dict[str, str]:
        return {}


class SimulatedWorld(World):
    def __init__(self) -> None:
        super().__init__()
        rng = random.Random(1)
        self.host = SimulatedHost(time.monotonic, rng, programs=_PROGRAMS, default=None)

    async def release(self, container_id: str) -> None:
        self.host.write(container_id, "stdout", "two")
        self.host.crash(container_id, 0)

    async def aclose(self) -> None:
        await SimulatedRuntime(self.host).stop_all(0)

    def _runtime(self) -> ContainerRuntime:
        return SimulatedRuntime(self.host)

    def argv(self, command: str) -> tuple[str, ...]:
        return (command,)


def _prints(*lines: tuple[str, str]) -> Callable[[ContainerSpec], tuple[tuple[str, str], ...]]:
    return lambda _spec: lines


_PROGRAMS = {
    "exit-0": Program(runs_seconds=0),
    "exit-3": Program(runs_seconds=0, exit_code=3),
    "run": Program(),
    "be-deaf": Program(ignores_sigterm=True, output=_prints(("stdout", "deaf"))),
    "kill-itself": Program(runs_seconds=0, exit_code=137),
    "print": Program(runs_seconds=0, output=_prints(*(("stdout", f"line {n}") for n in range(5)))),
    "complain": Program(runs_seconds=0, output=_prints(("stderr", "woe"))),
    "fail": Program(
        runs_seconds=0,
        exit_code=3,
        output=_prints(("stderr", "trying"), ("stderr", "\x1b[31mfailed\x1b[0m"), ("stdout", "on")),
    ),
    "wait": Program(output=_prints(("stdout", "one"))),
    "show-environment": Program(
        runs_seconds=0, output=lambda spec: [("stdout", spec.env["GREETING"])]
    ),
    "burn": Program(cpu_cores=1.0),
    "copy": Program(copies_input=True),
    "show-size": Program(shows_size=True),
}


class ProcessWorld(World):
    def __init__(self, root: Path, mark: str, limits: ProcessLimits | None = None) -> None:
        super().__init__()
        self.root = root
        self._mark = mark
        self._limits = limits

    async def release(self, container_id: str) -> None:
        (self.root / container_id / "work" / "released").touch()

    async def aclose(self) -> None:
        runtime = await self.open()
        assert isinstance(runtime, ProcessRuntime)
        await runtime.stop_all(0)
        await runtime.close()
        assert self.left_over() == []

    def shell(self, container_id: str, script: str) -> ContainerSpec:
        """A container that runs any script."""
        return self.spec(container_id, script)

    def left_over(self) -> list[str]:
        """The command lines of all processes that a container or a supervisor of ours is."""
        return [
            _told(process).decode(errors="replace")
            for process in Path("/proc").glob("[0-9]*")
            if f"{MARK}={self._mark}".encode() in _read(process / "environ").split(b"\0")
            or str(self.root).encode() in _told(process)
        ]

    def _runtime(self) -> ProcessRuntime:
        return ProcessRuntime(self.root, limits=self._limits)

    def argv(self, command: str) -> tuple[str, ...]:
        if command == "missing":
            return ("no-such-command",)
        return ("sh", "-c", SCRIPTS.get(command, command))

    def _environment(self) -> dict[str, str]:
        return {MARK: self._mark}


SCRIPTS = {
    "exit-0": "exit 0",
    "exit-3": "exit 3",
    "run": "exec sleep 1000",
    "be-deaf": "trap '' TERM; echo deaf; exec sleep 1000",
    "kill-itself": "kill -9 $$",
    "print": "for n in 0 1 2 3 4; do echo line $n; done",
    "complain": "echo woe >&2",
    "fail": r"echo trying >&2; printf '\033[31mfailed\033[0m\n' >&2; echo on; exit 3",
    "wait": "echo one; until [ -e released ]; do sleep 0.02; done; echo two",
    "show-environment": 'echo "$GREETING"',
    "burn": "while :; do :; done",
    "copy": "exec cat",
    "show-size": "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done",
}


def _told(process: Path) -> bytes:
    return _read(process / "cmdline").replace(b"\0", b" ")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
