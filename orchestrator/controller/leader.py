"""`LeaderLoop`: candidate, leader, and out.

A candidate whose session is lost, or for whose session the store has no room, stands again. A
*leader* whose session is lost, or who meets another's epoch, must not decide anything any more:
it raises `LeadershipLost`, and the process exits; whoever supervises it starts a fresh one. A
leader that is asked to stop resigns, so that the next one need not wait for a lease to end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn

import structlog

from orchestrator.cluster.events import EventLog
from orchestrator.cluster.manager import EtcdClusterManager
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.committer import Committer, LeadershipLost
from orchestrator.controller.lanes import staying_alive
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.node_events import tell_node_events
from orchestrator.controller.reconciler import Reconciler, ReconcileSettings
from orchestrator.controller.schema import ensure_schema
from orchestrator.model.node import Leader
from orchestrator.model.records import dump
from orchestrator.scheduler.protocol import Scheduler
from store.election import Election
from store.errors import NoSpace, SessionLost, StoreError
from store.patience import Patience
from store.session import Session
from store.transactions import Leadership

log = structlog.get_logger()

STAND_AGAIN_SECONDS = 1.0
"""A full store refuses leases: nobody can lead until somebody makes room."""


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    lease_ttl_seconds: int = 5
    reconcile: ReconcileSettings = field(default_factory=ReconcileSettings)


class LeaderLoop:
    """Stands for election, over and over, and leads when elected."""

    def __init__(
        self,
        view: ClusterView,
        scheduler: Scheduler,
        events: EventLog,
        metrics: LeaderMetrics,
        *,
        identity: Leader,
        rng: random.Random,
        settings: LeaderSettings,
    ) -> None:
        self._view = view
        self._scheduler = scheduler
        self._events = events
        self._metrics = metrics
        self._identity = identity
        self._rng = rng
        self._settings = settings
        self._leads = False

    async def run(self) -> NoReturn:
        """Raises `LeadershipLost` when this process must end."""
        await self._view.synced()
        while True:
            session = Session(
                self._view.store,
                ttl_seconds=self._settings.lease_ttl_seconds,
                clock=self._view.clock,
                rng=self._rng,
            )
            try:
                await self._stand(session)
            finally:
                await session.close()
            await asyncio.sleep(STAND_AGAIN_SECONDS)

    async def _stand(self, session: Session) -> None:
        """One candidacy: returns when it has come to nothing before it led."""
        end: Exception | None = None
        try:
            with staying_alive():
                async with asyncio.TaskGroup() as tasks:
                    await session.open(self._patience(inf))
                    tasks.create_task(session.keep_alive())
                    tasks.create_task(self._campaign_and_lead(session, tasks))
        except* (SessionLost, NoSpace) as failed:
            if self._leads:
                end = LeadershipLost(str(failed.exceptions[0]))
            else:
                log.warning("this candidacy has failed", problem=str(failed.exceptions[0]))
        except* LeadershipLost as lost:
            end = lost.exceptions[0]
        if end:
            raise end

    async def _campaign_and_lead(self, session: Session, tasks: asyncio.TaskGroup) -> None:
        election = Election(
            self._view.store,
            self._view.mirror,
            self._view.keys.leader,
            session,
            dump(self._identity),
            clock=self._view.clock,
            rng=self._rng,
        )
        leadership = await election.campaign()
        self._leads = True
        self._metrics.is_leader.set(1)
        self._metrics.epoch.set(leadership.epoch)
        self._metrics.longest_renewal_gap.set_function(lambda: session.longest_gap_seconds)
        log.info("leading", epoch=leadership.epoch)
        try:
            await self._lead(session, leadership, tasks)
        finally:
            self._metrics.is_leader.set(0)
            if session.remaining_seconds():  # else its end has done that, or is about to
                with suppress(StoreError):
                    await election.resign(leadership)

    async def _lead(
        self, session: Session, leadership: Leadership, tasks: asyncio.TaskGroup
    ) -> None:
        store_id = f"{self._rng.getrandbits(128):032x}"
        await ensure_schema(self._view, leadership, self._patience(10.0), store_id=store_id)
        committer = Committer(
            self._view.store,
            leadership,
            self._events,
            patience=lambda: self._patience(inf, is_over=lambda: not session.is_trusted()),
            rng=self._rng,
        )
        reconciler = Reconciler(
            self._view,
            self._scheduler,
            committer,
            self._metrics,
            may_dispatch=session.is_trusted,
            settings=self._settings.reconcile,
        )
        tasks.create_task(tell_node_events(EtcdClusterManager(self._view), committer.tell))
        await reconciler.run()

    def _patience(
        self, limit_seconds: float, is_over: Callable[[], bool] = lambda: False
    ) -> Patience:
        return Patience(self._view.clock, self._rng, limit_seconds, is_over=is_over)
