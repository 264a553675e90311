"""The wire between one client and the cluster: requests and watch responses can stall on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, NoReturn, TypeVar

from store.errors import OutcomeUnknown, StoreError, Unavailable
from store.memory.meanness import Luck, Meanness, Trip

if TYPE_CHECKING:
    from store.memory.watch import MemoryWatch

T = TypeVar("T")


class Link:
    def __init__(self, client: str, meanness: Meanness, rng: random.Random) -> None:
        self.client = client
        self.luck = Luck(meanness, rng)
        self.is_stalled = False
        self.watches: dict[MemoryWatch, None] = {}
        self._loses_requests = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    def pause(self) -> None:
        """Requests arrive, but answers and watch responses are held until `resume`."""
        self.is_stalled = True
        self._flowing.clear()

    def cut(self) -> None:
        """As `pause`, and requests do not arrive either: they time out, and are never done."""
        self.pause()
        self._loses_requests = True

    def resume(self) -> None:
        self.is_stalled = self._loses_requests = False
        self._flowing.set()
        for watch in list(self.watches):
            watch.flush()

    async def call(
        self, action: Callable[[], T], timeout_seconds: float, *, is_write: bool = False
    ) -> T:
        """Carry `action` to the store, and its answer or refusal back.

        Raises `Unavailable` if nothing was done, `OutcomeUnknown` if that is not known.
        """
        trip = self.luck.trip(is_write=is_write)
        if trip is None and not self.is_stalled:
            await _there(0.0, action)
            return action()
        try:
            return await self._travel(action, timeout_seconds, trip or Trip())
        except TimeoutError:
            if is_write:
                raise OutcomeUnknown("no answer: it may be done, now or later") from None
            raise Unavailable("no answer") from None

    async def _travel(self, action: Callable[[], T], timeout_seconds: float, trip: Trip) -> T:
        if trip.is_refused:
            await asyncio.sleep(0)
            raise Unavailable("the store takes no requests")
        left = min(timeout_seconds, trip.cut_seconds)
        request = inf if self._loses_requests else trip.request_seconds
        if request > left:
            if request < inf:
                asyncio.get_running_loop().call_later(request, _unheard, action)
            await _give_up_after(left)
        await _there(request, action)
        answer: T | StoreError
        try:
            answer = action()
        except StoreError as refusal:
            answer = refusal
        await self._back(trip.reply_seconds, left - request)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    async def _back(self, reply_seconds: float, left_seconds: float) -> None:
        if reply_seconds > left_seconds:
            await _give_up_after(left_seconds)
        await asyncio.sleep(reply_seconds)
        if self.is_stalled:
            async with asyncio.timeout(left_seconds - reply_seconds):
                await self._flowing.wait()


async def _there(seconds: float, action: Callable[[], object]) -> None:
    """A request that is on its way arrives even if its sender is cancelled meanwhile."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        asyncio.get_running_loop().call_soon(_unheard, action)
        raise


def _unheard(action: Callable[[], object]) -> None:
    with suppress(StoreError):
        action()


async def _give_up_after(seconds: float) -> NoReturn:
    await asyncio.sleep(seconds)
    raise TimeoutError
