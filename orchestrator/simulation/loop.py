"""An event loop without an outside: virtual time, processes that freeze, an order from a seed.

Theory of operation
-------------------
*Time* stands still while anybody has something to do; then it jumps to the next timer.

*Processes.* A `Process` is whatever descends from a task that has called `become`: each callback
belongs to the process of its context, and waits in that process's own queue. A frozen one takes
no step, as after SIGSTOP: timers fall due and answers arrive, and all of it is taken up in order
when it is thawed. What belongs to nobody (the network, the store, the machines, people) never
freezes; so who makes such timers gives them an empty context.

*Order.* Within a process callbacks run exactly in asyncio's order, on which asyncio's own locks
and queues rely. Which process is next is drawn by `rng`, as an operating system promises nothing
about that: every order that real processes could show can be drawn, and no other. Timers are up
to `JITTER_SECONDS` late, as real ones are, so that what is due at one instant comes in any order.
Without `rng` there is no chance in it at all: nobody is late, and one process goes on until it
waits.

*Rejected:* shuffling all callbacks. It breaks what asyncio promises, so that the faults it finds
are its own; and so does running a process's timers while it is frozen.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

JITTER_SECONDS = 0.001

DISK_SECONDS = 0.01
"""At most this long takes what a product would do in a thread: it waits for a disk there."""

MAX_STEPS_AT_ONCE = 20_000
"""A process that takes more steps in an instant will take them for ever."""


class Standstill(AssertionError):
    """Time will never go on."""


class Process:
    """`steps` counts what it did: who waits for nothing shows."""

    __slots__ = ("_loop", "due", "instant", "is_frozen", "steps", "steps_before")

    def __init__(self, loop: SimulationLoop | None = None) -> None:
        running = loop or asyncio.get_running_loop()
        assert isinstance(running, SimulationLoop)
        self._loop = running
        self.due: deque[asyncio.Handle] = deque()
        self.is_frozen = False
        self.steps = 0
        self.instant = 0.0
        self.steps_before = 0
        """Those before the present `instant`."""

    def freeze(self) -> None:
        self.is_frozen = True
        self._loop.note(self)

    def thaw(self) -> None:
        self.is_frozen = False
        self._loop.note(self)


_process: ContextVar[Process] = ContextVar("process")


def become(process: Process) -> None:
    """The current task, and those that it makes from now on, are part of `process`."""
    _process.set(process)


def own_process() -> Process | None:
    """The process that is taking this very step; None: nobody's."""
    return _process.get(None)


class _Task(asyncio.Task[T]):
    """asyncio keeps tasks in sets, and cancels them in the order in which it comes upon them there.
    By default that depends on where they lie in memory, and so on all that ever ran before."""

    def __init__(self, coro: Coroutine[Any, Any, T], number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class SimulationLoop(asyncio.BaseEventLoop):
    _stopping: bool  # asyncio's own

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._rng = rng
        self._nobody = Process(self)
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, Process, asyncio.TimerHandle]] = []
        self._timers_made = 0
        self._tasks_made = 0
        self._failure: Standstill | None = None
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        if context is None:  # an empty one is false, too
            context = copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._queue(context.get(_process) or self._nobody, handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """There are no threads here; asyncio itself calls this when it is interrupted."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if context is None:
            context = copy_context()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        due = when if self._rng is None else when + JITTER_SECONDS * self._rng.random()
        self._timers_made += 1
        process = context.get(_process) or self._nobody
        heappush(self._timers, (due, self._timers_made, process, timer))
        return timer

    def run_in_executor(
        self, _executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        """A little later, in the caller's place: while a thread works, time would run away."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        if self._rng is None:
            work()
        else:
            self.call_later(DISK_SECONDS * self._rng.random(), work)
        return future

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        self._tasks_made += 1
        return _Task(coro, self._tasks_made, loop=self, **options)

    def note(self, process: Process) -> None:
        """It may have begun or ceased to have something to do."""
        is_runnable = bool(process.due) and not process.is_frozen
        if is_runnable and process not in self._runnable:
            self._runnable.append(process)
        elif not is_runnable and process in self._runnable:
            self._runnable.remove(process)

    def _queue(self, process: Process, handle: asyncio.Handle) -> None:
        if not process.due and not process.is_frozen:
            self._runnable.append(process)
        process.due.append(handle)

    def _run_once(self) -> None:
        """Until it is told to stop. What has once come to a standstill, or spins, is not gone on
        with, even to clean up: the first error is the one that tells."""
        if self._failure:
            raise self._failure
        try:
            while not self._stopping:
                if not self._runnable:
                    self._pass_time()
                self._step()
        except Standstill as failure:
            self._failure = failure
            raise

    def _step(self) -> None:
        runnable = self._runnable
        index = int(self._rng.random() * len(runnable)) if self._rng else 0
        process = runnable[index]
        handle = process.due.popleft()
        if not process.due:
            runnable[index] = runnable[-1]
            runnable.pop()
        if not handle.cancelled():
            self._count(process, handle)
            handle._run()

    def _count(self, process: Process, handle: asyncio.Handle) -> None:
        process.steps += 1
        if process.instant < self._now:
            process.instant, process.steps_before = self._now, process.steps
        elif process.steps - process.steps_before > MAX_STEPS_AT_ONCE:
            if process is self._nobody:
                return  # all machines and people together have a lot to do
            raise Standstill(f"somebody spins at {self._now:.3f} s: {handle}")

    def _pass_time(self) -> None:
        """To the next timer that somebody can take up."""
        timers = self._timers
        while not self._runnable:
            if not timers:
                raise Standstill("everybody waits, and no timer will ever wake anybody")
            self._now = max(self._now, timers[0][0])
            while timers and timers[0][0] <= self._now:
                _, _, process, timer = heappop(timers)
                if not timer.cancelled():
                    self._queue(process, timer)
