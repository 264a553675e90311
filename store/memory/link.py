"""The wire between one client and the cluster: requests and watch responses can stall on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, TypeVar

from store.errors import OutcomeUnknown, StoreError, Unavailable
from store.memory.meanness import CALM, Luck, Meanness, Trip

if TYPE_CHECKING:
    from store.memory.watch import MemoryWatch

T = TypeVar("T")


class Link:
    def __init__(self, client: str, meanness: Meanness, rng: random.Random) -> None:
        self.client = client
        self.luck = Luck(meanness, rng)
        self.is_stalled = False
        self.watches: dict[MemoryWatch, None] = {}
        self.context = Context()
        """Of what happens on the wire: whatever a simulation attaches to a client's own (that it
        is frozen, say) must not hold for it."""
        self._loses_requests = False
        self._undelivered: list[Callable[[], None]] = []

    @property
    def is_fair(self) -> bool:
        """Everything comes through, and in time."""
        return not self.is_stalled and self.luck.meanness == CALM

    def pause(self) -> None:
        """Requests arrive, but answers and watch responses are held until `resume`."""
        self.is_stalled = True

    def cut(self) -> None:
        """As `pause`, and requests do not arrive either: they time out, and are never done."""
        self.pause()
        self._loses_requests = True

    def resume(self) -> None:
        self.is_stalled = self._loses_requests = False
        undelivered, self._undelivered = self._undelivered, []
        for deliver in undelivered:
            deliver()
        for watch in list(self.watches):
            watch.flush()

    async def call(
        self, action: Callable[[], T], timeout_seconds: float, *, is_write: bool = False
    ) -> T:
        """Carry `action` to the store, and its answer or refusal back.

        A request that is on its way arrives, whatever becomes of its sender. Raises `Unavailable`
        if nothing was done, `OutcomeUnknown` if that is not known.
        """
        trip = self.luck.trip(is_write=is_write)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if trip is None and not self.is_stalled:
            self._soon(lambda: _tell(answer, _outcome_of(action)))
            return await answer
        trip = trip or Trip()
        if trip.is_refused:
            await asyncio.sleep(0)
            raise Unavailable("the store takes no requests")
        if not self._loses_requests:
            self._later(trip.request_seconds, lambda: self._arrive(action, trip, answer))
        try:
            async with asyncio.timeout(min(timeout_seconds, trip.cut_seconds)):
                return await answer
        except TimeoutError:
            if is_write:
                raise OutcomeUnknown("no answer: it may be done, now or later") from None
            raise Unavailable("no answer") from None

    def _arrive(self, action: Callable[[], T], trip: Trip, answer: asyncio.Future[T]) -> None:
        outcome = _outcome_of(action)
        self._later(trip.reply_seconds, lambda: self._deliver(outcome, answer))

    def _deliver(self, outcome: T | StoreError, answer: asyncio.Future[T]) -> None:
        if self.is_stalled:
            self._undelivered.append(lambda: _tell(answer, outcome))
        else:
            _tell(answer, outcome)

    def _soon(self, happens: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(happens, context=self.context)

    def _later(self, seconds: float, happens: Callable[[], None]) -> None:
        if seconds == 0.0:
            self._soon(happens)
        elif seconds < inf:
            asyncio.get_running_loop().call_later(seconds, happens, context=self.context)


def _outcome_of(action: Callable[[], T]) -> T | StoreError:
    try:
        return action()
    except StoreError as refusal:
        return refusal


def _tell(answer: asyncio.Future[T], outcome: T | StoreError) -> None:
    """Unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(outcome, StoreError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
