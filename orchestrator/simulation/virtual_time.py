"""Virtual time: whoever sleeps wakes at once, and the loop's clock says it is later."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from orchestrator.simulation.loop import SimulationLoop

P = ParamSpec("P")
T = TypeVar("T")


def run_in_virtual_time(main: Coroutine[Any, Any, T], rng: random.Random | None = None) -> T:
    """`main`'s result, from a loop of its own. With `rng`, processes take their turns by chance."""
    with asyncio.Runner(loop_factory=lambda: SimulationLoop(rng)) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a loop of its own whose `time` is a clock to inject.

    For what stays within the process: no sockets, no threads. A test that nothing can wake any
    more fails instead of hanging.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run


def virtual_now() -> float:
    """The running loop's time: the clock of everything under test."""
    return asyncio.get_running_loop().time()
