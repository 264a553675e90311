"""The outermost frame of a process: signals in, an exit code out, no traceback for a user's slip.

The first SIGTERM, SIGINT or SIGHUP sets the event that `main` was given, and `main` stops in the
order that it knows to be right. The second one ends the process at once. It always ends by
`os._exit`: grpc's threads may otherwise keep it from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import structlog

from orchestrator.model.errors import OrchestrationError

EXIT_FAILED = 1
EXIT_BUG = 70
EXIT_INTERRUPTED = 128 + signal.SIGINT

T = TypeVar("T")
Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

log = structlog.get_logger()


def run_process(
    main: Main,
    *,
    reported: tuple[type[Exception], ...] = (),
    on_second_signal: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Run `main(stop)` to its end, then end the process.

    The exit code is 0 when `main` returned, 1 with one sentence on stderr for an
    `OrchestrationError` or one of the `reported` kinds, and 70 with a traceback in the log for
    anything else, which is a bug of ours.
    """
    code = EXIT_BUG
    try:
        asyncio.run(_with_signals(main, on_second_signal))
        code = 0
    except BaseException as error:  # the top of the process: whatever it is, say it and end
        code = _say(error, (OrchestrationError, *reported))
    finally:
        _end(code)


async def run_until(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What `work` returns; or None if `stop` is set before: it is cancelled then, and this waits
    for its end."""
    task = asyncio.ensure_future(work)
    asked = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        is_cancelled = task.cancel()
        await asyncio.wait({task})
    return None if is_cancelled and task.cancelled() else task.result()


async def _with_signals(main: Main, on_second_signal: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            on_second_signal()
            os._exit(128 + number)
        log.info("asked to stop", signal=signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's word holds
            loop.add_signal_handler(number, on_signal, number)
    await main(stop)


def _end(code: int) -> NoReturn:
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _say(error: BaseException, reported: tuple[type[Exception], ...]) -> int:
    causes = list(_leaves(error))
    expected = [cause for cause in causes if isinstance(cause, reported)]
    if expected and len(expected) == len(causes):
        print(f"error: {expected[0]}", file=sys.stderr)
        return EXIT_FAILED
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    log.critical("ended by a bug", exc_info=error)
    return EXIT_BUG


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside of task groups' wrappings."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
