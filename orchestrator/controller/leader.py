"""`LeaderLoop`: candidate, leader, and out.

A candidate whose session is lost, or for whose session the store has no room, stands again. A
*leader* whose session is lost, or who meets another's epoch, must not decide anything any more:
it raises `LeadershipLost`, and the process exits; whoever supervises it starts a fresh one. A
leader that is asked to stop resigns, so that the next one need not wait for a lease to end. Nor
need it for that of a leader whose process is known to have died: see `process.vigil`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn, Protocol

import structlog

from orchestrator.cluster.events import EventLog
from orchestrator.cluster.manager import EtcdClusterManager
from orchestrator.cluster.view import ClusterView
from orchestrator.controller.committer import Committer, LeadershipLost
from orchestrator.controller.lanes import in_own_task
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.node_events import tell_node_events
from orchestrator.controller.node_vigils import NodeVigils
from orchestrator.controller.quarantine import tell_damage
from orchestrator.controller.reconciler import Reconciler, ReconcileSettings
from orchestrator.controller.schema import ensure_schema
from orchestrator.controller.upkeep import Upkeep
from orchestrator.model.errors import StateError
from orchestrator.model.node import Leader
from orchestrator.model.records import dump, load
from orchestrator.scheduler.protocol import Scheduler
from store.election import Election
from store.errors import NoSpace, OutcomeUnknown, SessionLost, StoreError, Unavailable
from store.patience import Patience
from store.session import Session
from store.transactions import Leadership
from store.values import KeyValue

log = structlog.get_logger()

STAND_AGAIN_SECONDS = 1.0
"""A full store refuses leases: nobody can lead until somebody makes room."""

UNFIT_SECONDS = 30.0
"""Between two looks whether the store is laid out for this release again."""


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    lease_ttl_seconds: int = 5
    reconcile: ReconcileSettings = field(default_factory=ReconcileSettings)


class Peers(Protocol):
    """How replicas know of each other's deaths without waiting for a lease to end."""

    def announce(self, lease_id: int) -> None:
        """This process stands, and perhaps leads, on that lease from now on."""

    async def until_dead(self, leader: Leader, lease_id: int) -> None:
        """Returns once the process that leads on that lease has surely died; else never."""


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
        peers: Peers | None = None,
        nodes: NodeVigils | None = None,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._view = view
        self._scheduler = scheduler
        self._events = events
        self._metrics = metrics
        self._identity = identity
        self._rng = rng
        self._settings = settings
        self._peers = peers
        self._nodes = nodes
        self._upkeep = upkeep
        self._leads = False

    async def run(self) -> NoReturn:
        """Raises `LeadershipLost` when this process must end."""
        await self._view.synced()
        while True:
            await self._until_fit()
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

    async def _until_fit(self) -> None:
        """Who may write nothing does not stand: a newer release does, in another replica."""
        while refusal := self._view.state.refusal:
            log.error("this replica does not stand for election", problem=refusal)
            await asyncio.sleep(UNFIT_SECONDS)

    async def _stand(self, session: Session) -> None:
        """One candidacy: returns when it has come to nothing before it led."""
        end: Exception | None = None
        try:
            await in_own_task(self._hold(session))
        except* (SessionLost, NoSpace) as failed:
            if self._leads:
                end = LeadershipLost(str(failed.exceptions[0]))
            else:
                log.warning("this candidacy has failed", problem=str(failed.exceptions[0]))
        except* LeadershipLost as lost:
            end = lost.exceptions[0]
        if end:
            raise end

    async def _hold(self, session: Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            await session.open(self._patience(inf))
            if self._peers:
                self._peers.announce(session.lease_id)
            tasks.create_task(session.keep_alive())
            tasks.create_task(self._campaign_and_lead(session, tasks))

    async def _campaign_and_lead(self, session: Session, tasks: asyncio.TaskGroup) -> None:
        election = Election(
            self._view.store,
            self._view.mirror,
            self._view.keys.leader,
            session,
            dump(self._identity),
            clock=self._view.clock,
            rng=self._rng,
            is_dead=self._is_dead,
        )
        leadership = await election.campaign()
        self._leads = True
        self._metrics.is_leader.set(1)
        self._metrics.epoch.set(leadership.epoch)
        self._metrics.longest_renewal_gap.set_function(lambda: session.longest_gap_seconds)
        log.info("leading", epoch=leadership.epoch)
        tasks.create_task(election.keep(leadership))
        try:
            await self._lead(session, leadership, tasks)
        finally:
            self._metrics.is_leader.set(0)
            if session.remaining_seconds():  # else its end has done that, or is about to
                with suppress(StoreError):
                    await election.resign(leadership)

    async def _is_dead(self, holder: KeyValue) -> bool:
        """As a `DeathWatch`."""
        if self._peers is None:
            return False
        try:
            leader = load(self._view.keys.parse(holder.key), holder.value)
        except StateError:
            return False
        assert isinstance(leader, Leader)
        await self._peers.until_dead(leader, holder.lease)
        log.warning("the leader has died: ending its lease", leader=leader.replica)
        return True

    async def _lead(
        self, session: Session, leadership: Leadership, tasks: asyncio.TaskGroup
    ) -> None:
        store_id = f"{self._rng.getrandbits(128):032x}"

        def patience() -> Patience:
            return self._patience(inf, is_over=lambda: not session.is_trusted())

        try:
            await ensure_schema(self._view, leadership, patience(), store_id=store_id)
        except (Unavailable, OutcomeUnknown) as error:
            raise LeadershipLost(f"the store has answered nothing for this term: {error}") from None
        committer = Committer(
            self._view.store,
            leadership,
            self._events,
            patience=patience,
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
        tasks.create_task(tell_damage(self._view, committer.tell))
        if nodes := self._nodes:
            self._metrics.met_nodes.set_function(lambda: nodes.met)
            tasks.create_task(nodes.run(tasks, committer.tell))
        if self._upkeep:
            tasks.create_task(self._upkeep.tend(committer.tell, session.is_trusted))
            tasks.create_task(self._upkeep.keep_snapshots(committer.tell))
        await reconciler.run()

    def _patience(
        self, limit_seconds: float, is_over: Callable[[], bool] = lambda: False
    ) -> Patience:
        return Patience(self._view.clock, self._rng, limit_seconds, is_over=is_over)
