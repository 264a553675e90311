"""Processes that can be stopped and continued, as by SIGSTOP, within one loop in virtual time.

A process is whatever tasks descend from one that has called `become`. While it is frozen none of
them takes a step, though time goes on and answers arrive; when it is thawed all is taken up where
it was, in order: so it may act on what it believed before.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, ParamSpec, TypeVarTuple

from tests.support.virtual_time import VirtualTimeLoop

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


class Process:
    """`steps` counts what its tasks did: who waits for nothing shows."""

    def __init__(self) -> None:
        self.is_frozen = False
        self.steps = 0
        self._held: list[tuple[Context, Callable[[], object]]] = []

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        self.is_frozen = False
        held, self._held = self._held, []
        for context, step in held:
            asyncio.get_running_loop().call_soon(step, context=context)

    def take(self, step: Callable[[], object]) -> None:
        """Take a step of the current task, now or when thawed."""
        if self.is_frozen:
            self._held.append((copy_context(), step))
            return
        self.steps += 1
        step()


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def become(process: Process) -> None:
    """The current task, and those that it makes from now on, are part of `process`."""
    _process.set(process)


class FreezableLoop(VirtualTimeLoop):
    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        if isinstance(getattr(callback, "__self__", None), asyncio.Task):
            return super().call_soon(_step, functools.partial(callback, *args), context=context)
        return super().call_soon(callback, *args, context=context)


def _step(step: Callable[[], object]) -> None:
    """In the task's own context. A step that is due is never taken back by asyncio."""
    process = _process.get()
    if process is None:
        step()
    else:
        process.take(step)


def in_freezable_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """As `in_virtual_time`, with processes that can be frozen."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=FreezableLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
