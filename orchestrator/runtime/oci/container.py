"""One container made of an image, as the agent holds it: two pidfds and what the disk says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace

import structlog

from orchestrator.model import errors
from orchestrator.runtime import outcome, syscalls
from orchestrator.runtime.container_dir import ProcessRecord
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.log_files import last_line
from orchestrator.runtime.oci import verdict
from orchestrator.runtime.oci.asking import Asking, ProgramFile, program_of
from orchestrator.runtime.oci.children import Process, exit_code
from orchestrator.runtime.oci.place import EndRecord, OciDir
from orchestrator.runtime.oci.starting import Namespaces, Prepared, Start
from orchestrator.runtime.oci.taking_down import kill_all_of, take_down
from orchestrator.runtime.oci.tools import Tools
from orchestrator.runtime.protocol import ContainerSpec, ContainerState

log = structlog.get_logger()

CONMON_SECONDS = 10.0
"""conmon notes an exit code within milliseconds, on a machine that is busy within a second."""

GIVEN_UP = "it was stopped before it had started"

REAPED_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.05


class OciContainer(Lifecycle):
    """`joins` gives the namespaces that it shares with earlier containers of its instance."""

    def __init__(
        self,
        tools: Tools,
        place: OciDir,
        spec: ContainerSpec,
        joins: Callable[[ContainerSpec], Awaitable[Namespaces]],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(spec)
        self.place = place
        self.is_closed = False
        self._tools = tools
        self._joins = joins
        self._wake = wake
        self._living: asyncio.Task[None] | None = None
        self._preparing: asyncio.Task[Prepared] | None = None
        self._is_given_up = False
        self._init: Process | None = None
        self._conmon: Process | None = None
        self._followed: int | None = None
        self._stop_signal = int(signal.SIGTERM)
        self._asking: Asking | None = None

    def start(self) -> None:
        self._live_as(self._live())

    def adopt(self) -> None:
        """Take up what an earlier agent has left, once it is known not to be half made."""
        self._live_as(self._live_on())

    def ask_to_end(self, *, by_force: bool) -> None:
        if self._init is None or self.ended.is_set():
            return
        if by_force:
            self._init.send(signal.SIGKILL)
            if self._shares_pids:
                self._tools.cgroup(self.status.spec.id).kill()
        elif self._asking is not None:
            self._asking.ask(self._stop_signal)

    async def stop(self, grace_seconds: float) -> None:
        self._give_up()
        await super().stop(grace_seconds)

    async def kill(self) -> None:
        self._give_up()
        await super().kill()

    async def may_write_more(self, within_seconds: float) -> bool:
        """Whether it is still there to write to its log, after a pause if it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self.ended.wait()
        return not (self.ended.is_set() or self.is_closed)

    async def finish_taking_down(self) -> None:
        """What could not be undone when it ended. Raises `RuntimeError` if it still cannot."""
        if not self.place.is_down:
            await take_down(self._tools, self.place, self.status.spec)

    def close(self) -> None:
        """Let go of it; it runs on."""
        self.is_closed = True
        if self._living is not None:
            self._living.cancel()
        self._let_go()

    def _live_as(self, life: Coroutine[None, None, None]) -> None:
        self._living = asyncio.create_task(life)
        self._living.add_done_callback(self._on_fault)

    def _on_fault(self, living: asyncio.Task[None]) -> None:
        """Nobody awaits the task: what must not happen is told, and hangs nobody."""
        fault = None if living.cancelled() else living.exception()
        if fault is not None:
            log.error(
                "a container's task has failed", container=self.status.spec.id, exc_info=fault
            )
            reason = f"the agent has failed over it: {fault!r}"
            self.status = replace(self.status, state=ContainerState.EXITED, reason=reason)
            self.settled.set()
            self.ended.set()
            self._wake()

    @property
    def _shares_pids(self) -> bool:
        isolation = self.status.spec.isolation
        return isolation is not None and "pid" in isolation.shared

    def _give_up(self) -> None:
        """What is only being prepared is not waited for."""
        self._is_given_up = True
        if self._preparing is not None:
            self._preparing.cancel()

    async def _live(self) -> None:
        try:
            init = await self._start()
        except (errors.RuntimeError, OSError) as failure:
            await self._over(EndRecord(None, time.time(), failure=_told(failure)))
        else:
            await self._run(init)

    async def _start(self) -> ProcessRecord:
        spec = self.status.spec
        start = Start(self._tools, self.place, spec)
        if self._is_given_up:
            raise errors.RuntimeError(GIVEN_UP)
        self._preparing = asyncio.create_task(start.prepare())
        try:
            prepared = await self._preparing
        except asyncio.CancelledError:
            if self.is_closed:
                self._preparing.cancel()
                raise
            raise errors.RuntimeError(GIVEN_UP) from None
        finally:
            self._preparing = None
        try:
            shared = await self._joins(spec)
        except BaseException:
            os.close(prepared.root)
            raise
        self._followed = self._tools.logs.follow(self.place.path)
        init, conmon = await start.create(prepared, shared)
        self._hold(init, conmon, program_of(init.pid))
        await start.start(prepared)
        return init

    async def _live_on(self) -> None:
        process, end = self.place.process(), self.place.end()
        if end is None and process is not None:
            self._followed = self._tools.logs.follow(self.place.path)
            self._hold(process, self.place.supervisor(), None)
            if self._init is not None:
                await self._run(process)
            else:
                await self._over(await self._end())
        elif end is not None:
            await self._over(end)

    def _hold(
        self, init: ProcessRecord, conmon: ProcessRecord | None, program: ProgramFile | None
    ) -> None:
        self._init, self._conmon = Process.find(init), Process.find(conmon)
        if self._init is not None:
            self._asking = Asking(self._init, init.pid, program)
        if (preparation := self.place.preparation()) is not None:
            self._stop_signal = preparation.stop_signal

    async def _run(self, init: ProcessRecord) -> None:
        spec, preparation = self.status.spec, self.place.preparation()
        sandbox = preparation.sandbox if preparation else None
        address = sandbox.address if sandbox is not None else ""
        self.status = replace(outcome.running(spec, init), address=address)
        self.settled.set()
        self._wake()
        await self._over(await self._end())

    async def _end(self) -> EndRecord:
        """Wait for it, and for what conmon has to say of it."""
        spec, cgroup = self.status.spec, self._tools.cgroup(self.status.spec.id)
        if self._init is not None:
            await self._init.ended()
        if self._shares_pids:
            with contextlib.suppress(errors.RuntimeError):  # taking down will tell
                await kill_all_of(self._tools, self.place, spec)  # nobody else does it for them
        if self._conmon is not None:
            await self._until_conmon_ends(self._conmon)
        seen = self.place.conmon_exit()
        code, finished_at = seen or (await self._exit_code(), time.time())
        was_short = cgroup.oom_kills() > 0 or (self.place.path / "oom").exists()
        process = self.place.process()
        if process is not None:  # the file system's clock may be a tick behind
            finished_at = max(finished_at, process.started_at)
        return EndRecord(code, finished_at, was_short and code == verdict.KILLED)

    async def _until_conmon_ends(self, conmon: Process) -> None:
        try:
            async with asyncio.timeout(CONMON_SECONDS):
                await conmon.ended()
        except TimeoutError:
            conmon.send(signal.SIGKILL)
            await conmon.ended()

    async def _exit_code(self) -> int | None:
        """From the kernel, which keeps it as long as we hold the pidfd, since Linux 6.15."""
        if self._init is None:
            return None
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(REAPED_SECONDS):
                while (status := syscalls.exit_status(self._init.pidfd)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)  # until its parent has reaped it
            return exit_code(status)
        return None

    async def _over(self, end: EndRecord) -> None:
        """Nothing of it runs, or never did: put that down, then take down the rest."""
        spec, process = self.status.spec, self.place.process()
        if self.place.end() is None:
            with contextlib.suppress(OSError):  # a full disk: it is seen to have ended all the same
                await asyncio.to_thread(self.place.write_end, end)
        self._let_go()
        with contextlib.suppress(errors.RuntimeError):  # told there; tried again
            await self.finish_taking_down()
        status = outcome.with_grace(verdict.exited(spec, process, end), self.outlived_seconds)
        self.status = outcome.with_last_words(status, lambda: last_line(self.place.path, "stderr"))
        self.settled.set()
        self.ended.set()
        self._wake()

    def _let_go(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        for process in (self._init, self._conmon):
            if process is not None:
                process.close()
        self._init = self._conmon = None
        if self._followed is not None:
            self._tools.logs.unfollow(self._followed)
            self._followed = None


def _told(failure: Exception) -> str:
    if isinstance(failure, OSError):
        of = f" ({failure.filename})" if failure.filename else ""
        return f"its node could not prepare it: {failure.strerror or failure}{of}"
    return str(failure)
