"""`SpaceWatch`: every replica looks at etcd's room, and makes some when there is none.

A full store refuses leases, so that nobody may lead: rescue must not wait for a leader. Each
replica that sees the alarm waits for a moment, the leader for the shortest, looks again, and makes
room if nobody else has. That two do it at once does no harm.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import structlog

from orchestrator.model.keys import Keys
from orchestrator.upkeep.metrics import UpkeepMetrics
from orchestrator.upkeep.room import make_room
from orchestrator.upkeep.space import Level, Measures, fill_of, measures_of, mebibytes
from store.defragmentation import is_out_of_space
from store.errors import StoreError
from store.patience import Clock
from store.protocol import Store

log = structlog.get_logger()

LOOK_SECONDS = 10.0
FULL_LOOK_SECONDS = 1.0
"""While there is no room: as soon as somebody has made some, people are refused no longer."""

LEADERS_WAIT_SECONDS = (0.0, 2.0)
OTHERS_WAIT_SECONDS = (5.0, 20.0)
RESCUE_AGAIN_SECONDS = 120.0
"""After a rescue, whatever became of it: each stops all members for a moment, and what the keys
themselves take no rescue gives back."""


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """`quota_bytes` None: what etcd says, else its default."""

    quota_bytes: int | None = None
    look_seconds: float = LOOK_SECONDS
    may_rescue: bool = True


class SpaceWatch:
    def __init__(
        self,
        store: Store,
        keys: Keys,
        metrics: UpkeepMetrics,
        *,
        clock: Clock,
        wall_clock: Callable[[], float],
        rng: random.Random,
        terms: WatchTerms = WatchTerms(),
    ) -> None:
        self.measures = Measures()
        """What is to be done at present; nothing, until etcd was seen."""
        self._store = store
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng
        self._terms = terms
        self._leads = False
        self._rescued_at: float | None = None

    def warnings(self) -> tuple[str, ...]:
        return (self.measures.warning,) if self.measures.warning else ()

    def refusal(self) -> str:
        """Why people may not ask for more at present; empty if they may."""
        return self.measures.warning if self.measures.refuses_growth else ""

    def thins_events(self) -> bool:
        return self.measures.thins_events

    @property
    def is_full(self) -> bool:
        """It was when it was last seen."""
        return self.measures.level is Level.FULL

    @contextmanager
    def leading(self) -> Iterator[None]:
        self._leads = True
        try:
            yield
        finally:
            self._leads = False

    async def run(self) -> NoReturn:
        """Until cancelled. That the store does not answer is not this one's to tell."""
        while True:
            try:
                if await self.look() and self._may_rescue():
                    await self._rescue()
            except StoreError as error:
                log.warning("etcd's room cannot be seen to", problem=str(error))
                self._metrics.failed("space")
            pause = FULL_LOOK_SECONDS if self.is_full else self._terms.look_seconds
            await asyncio.sleep(pause * self._rng.uniform(0.8, 1.2))

    async def look(self) -> bool:
        """Take new measures; whether the store is out of space. What was known of a store that
        does not answer holds on."""
        members = await self._store.members()
        if not members:
            return False
        fill = fill_of(members, self._terms.quota_bytes)
        measures = measures_of(fill)
        if measures.warning and measures.level != self.measures.level:
            log.warning(measures.warning)
        self.measures = measures
        self._metrics.saw(members, fill, measures)
        return is_out_of_space(members)

    def _may_rescue(self) -> bool:
        since = self._rescued_at
        if not self._terms.may_rescue:
            return False
        return since is None or self._clock() - since >= RESCUE_AGAIN_SECONDS

    async def _rescue(self) -> None:
        wait = LEADERS_WAIT_SECONDS if self._leads else OTHERS_WAIT_SECONDS
        due_at = self._clock() + self._rng.uniform(*wait)
        while True:
            left = due_at - self._clock()
            await asyncio.sleep(max(0.0, min(left, FULL_LOOK_SECONDS)))
            if not await self.look():
                return
            if left <= FULL_LOOK_SECONDS:
                break
        self._rescued_at = self._clock()
        log.warning("etcd is out of space: making room")
        made = await make_room(self._store, self._keys, self._wall_clock, log.info)
        if made:
            self._metrics.rescued()
            log.warning(
                "etcd takes writes again",
                freed=mebibytes(made.freed_bytes),
                compacted_revision=made.compacted_revision,
            )
        await self.look()
