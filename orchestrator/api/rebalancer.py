"""`Rebalancer`: where it is enabled, nodes that join or come back are given a share of the load.

It is a client of the API that lives beside it: it asks for a plan and writes the moves, as `orc
rebalance --yes` does, and the leader carries them out under each workload's budget. Only the
leader's replica does so, and two at once would do no harm: moves are guarded by what was looked at.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NoReturn

import structlog

from orchestrator.api.context import Api
from orchestrator.api.whatif import on_a_copy
from orchestrator.model.errors import OrchestrationError
from orchestrator.model.instance import InstanceName, Move
from orchestrator.model.keys import InstancePlace
from orchestrator.model.moves import PlannedMove
from orchestrator.planning.rebalancing import plan_rebalance
from store.errors import StoreError

log = structlog.get_logger()

LOOK_SECONDS = 10.0

MAX_PAUSE_LOOKS = 60
"""What was refused once is mostly refused again: each time it waits twice as long, up to so many
times as long as between two looks."""


class Rebalancer:
    """`target` is the imbalance to be reached, in thousandths; `max_moves` at once."""

    def __init__(
        self, api: Api, *, target: int, max_moves: int, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._api = api
        self._target = target
        self._max_moves = max_moves
        self._look_seconds = look_seconds
        self._balanced: frozenset[tuple[str, int]] = frozenset()
        self._pause_looks = 1

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._look_seconds * self._pause_looks)
            if self.is_due():
                was_refused = not await self._rebalance()
                self._pause_looks = (
                    min(2 * self._pause_looks, MAX_PAUSE_LOOKS) if was_refused else 1
                )

    def is_due(self) -> bool:
        """A node has a session that it had not when all was even; and nothing is on the move."""
        leader = self._api.state.leader
        leads = leader is not None and leader.record.replica == self._api.replica
        return leads and not self._api.state.moves and not self._sessions() <= self._balanced

    def _sessions(self) -> frozenset[tuple[str, int]]:
        sessions = self._api.state.sessions
        return frozenset((node, entry.create_revision) for node, entry in sessions.items())

    async def _rebalance(self) -> bool:
        """Whether there was nothing to move, or some move was accepted."""
        sessions = self._sessions()
        planned = await on_a_copy(
            self._api,
            partial(
                plan_rebalance,
                scheduler=self._api.scheduler,
                target=self._target,
                max_moves=self._max_moves,
            ),
        )
        if not planned.moves:
            self._balanced = sessions
            return True
        return any([await self._write(move) for move in planned.moves])

    async def _write(self, move: PlannedMove) -> bool:
        place = InstancePlace(move.from_node, InstanceName.parse(move.instance))
        wish = Move(move.reason, move.to_node)
        try:
            await self._api.writer.move(place, wish, move.assignment)
        except (OrchestrationError, StoreError) as error:
            log.warning("a move is left out", instance=move.instance, problem=str(error))
            return False
        return True
