"""One container under its supervisor, as the agent holds it: a pidfd and what the disk said."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.runtime import outcome
from orchestrator.runtime.commands import Command
from orchestrator.runtime.container_dir import ContainerDir, ExitRecord, ProcessRecord
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.log_files import last_line
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus, ExecRequest
from orchestrator.runtime.spawning import spawn_supervisor
from orchestrator.runtime.supervisor.launch import MARK, Launch
from orchestrator.runtime.supervisor.signals import KILL, TERMINATE

RETRY_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What holds for every container of a node.

    `open_files` is the soft limit; a program may raise it to what the agent itself may use.
    """

    log_bytes: int = 10_000_000
    log_files: int = 3
    open_files: int = 1024


class SupervisedContainer(Lifecycle):
    """Nothing here signals the container's own process: that is its supervisor's to do."""

    def __init__(
        self,
        place: ContainerDir,
        spec: ContainerSpec,
        limits: ProcessLimits,
        environment: Mapping[str, str],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(spec)
        self.place = place
        self.is_closed = False
        self.commands: set[Command] = set()
        """Those that the agent has started beside its own, as long as they are open."""
        self.past_cpu_seconds = 0.0
        """What such commands have used that are closed."""
        self._limits = limits
        self._environment = environment
        self._wake = wake
        self._pidfd: int | None = None
        self._ready: int | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._asked: int | None = None

    def start(self, taken_over: ProcessRecord | None = None) -> None:
        """Start a supervisor, which starts the container or takes it over. Raises OSError."""
        pidfd, ready = spawn_supervisor(self.place, self._launch(taken_over))
        self._watch(pidfd)
        self._hear(ready)

    async def adopt(self) -> None:
        """Take up what an earlier agent started: its supervisor, or what that has left."""
        while not self._attach():  # noqa: ASYNC110 - the file system has no event for us
            # Only if that agent was killed within the milliseconds that a start takes.
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        await self.settled.wait()

    def ask_to_end(self, *, by_force: bool) -> None:
        self._asked = KILL if by_force else TERMINATE
        self._repeat_request()

    async def may_write_more(self, within_seconds: float) -> bool:
        """Whether it is still there to write to its log, after a pause if it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self.ended.wait()
        return not (self.ended.is_set() or self.is_closed)

    def close(self) -> None:
        """Let go of it; it runs on."""
        self.is_closed = True
        self._let_go()

    def launch_beside(self, request: ExecRequest) -> Launch:
        """Of another command, with the container's environment, directory and limits."""
        launch = self._launch(None)
        launch.argv = request.argv
        launch.env = {**launch.env, **request.env, MARK: launch.env[MARK]}
        launch.working_dir = request.working_dir or launch.working_dir
        return launch

    def _launch(self, taken_over: ProcessRecord | None) -> Launch:
        spec = self.status.spec
        identity = (0, 0)
        if taken_over is not None:
            identity = (taken_over.pid, taken_over.start_ticks if taken_over.is_alive else 0)
        return Launch(
            spec.argv,
            {**self._environment, **spec.env, MARK: str(self.place.path)},
            spec.working_dir or str(self.place.path / "work"),
            memory_bytes=round(spec.limits.memory_mb * 1_000_000),
            open_files=self._limits.open_files,
            log_bytes=self._limits.log_bytes,
            log_files=self._limits.log_files,
            taken_over=identity,
        )

    def _hear(self, ready: int) -> None:
        self._ready = ready
        asyncio.get_running_loop().add_reader(ready, self._on_ready)

    def _watch(self, pidfd: int) -> None:
        self._pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_supervisor_end)

    def _attach(self) -> bool:
        """Whether the disk said enough; else a start is under way."""
        if not self.place.is_supervised():
            self._go_on_without_supervisor()
            return True
        supervisor = self.place.supervisor()
        if supervisor is None or self.place.process() is None:
            return False
        try:
            pidfd = os.pidfd_open(supervisor.pid)
        except ProcessLookupError:
            return False
        if not supervisor.is_alive:  # asked after opening: now the pid cannot change its owner
            os.close(pidfd)
            return False
        self._watch(pidfd)
        self._settle()
        return True

    def _on_ready(self) -> None:
        self._stop_hearing()
        self._settle()

    def _settle(self) -> None:
        spec, process, end = self.status.spec, self.place.process(), self.place.exit()
        if end is not None:
            self.status = self._exited(process, end)
        elif process is not None:
            self.status = outcome.running(spec, process)
        else:
            return  # the supervisor died before it did anything: its pidfd says so too
        self.settled.set()
        self._repeat_request()
        self._wake()

    def _on_supervisor_end(self) -> None:
        was_ready = self._ready is None
        self._let_go()
        self._go_on_without_supervisor(0 if was_ready else RETRY_SECONDS)

    def _go_on_without_supervisor(self, delay_seconds: float = 0) -> None:
        process, end = self.place.process(), self.place.exit()
        if end is None and process is not None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(delay_seconds, self._take_over, process)
            return
        if end is None:
            said = self.place.last_words() or "its supervisor was killed"
            self.status = outcome.never_started(self.status.spec, f"it was not started: {said}")
        else:
            self.status = self._exited(process, end)
        self.settled.set()
        self.ended.set()
        self._wake()

    def _exited(self, process: ProcessRecord | None, end: ExitRecord) -> ContainerStatus:
        status = outcome.exited(self.status.spec, process, end)
        status = outcome.with_grace(status, self.outlived_seconds)
        return outcome.with_last_words(status, lambda: last_line(self.place.path, "stderr"))

    def _take_over(self, process: ProcessRecord) -> None:
        try:
            self.start(taken_over=process)
        except OSError:
            self._let_go()
            self._go_on_without_supervisor(RETRY_SECONDS)

    def _repeat_request(self) -> None:
        """The supervisor may be another one than that which was asked first.

        One that is not ready does not hear signals yet: they would kill it.
        """
        if self._ready is None and self._pidfd is not None and self._asked is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, self._asked)

    def _stop_hearing(self) -> None:
        if self._ready is not None:
            asyncio.get_running_loop().remove_reader(self._ready)
            os.close(self._ready)
            self._ready = None

    def _let_go(self) -> None:
        self._stop_hearing()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            with contextlib.suppress(ChildProcessError):  # an earlier agent's child is not ours
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            os.close(self._pidfd)
            self._pidfd = None
