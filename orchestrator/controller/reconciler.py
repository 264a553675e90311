"""`Reconciler`: observe, plan, commit; again whenever something has changed or is due.

A wake-up carries no news: a watch event, a timer and the slow full pass all come here, and the
same code looks at the mirror. What has just been committed is planned again only once the
mirror shows it. What waits for room on some node is planned again only once something may have
made room: else each piece of news would cost a look at all that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import structlog

from orchestrator.cluster.view import ClusterView, News
from orchestrator.controller.committer import Committer, LeadershipLost, Report
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.turns import Turns
from orchestrator.model.actions import Plan
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.loss import MASS_LOSS_FRACTION, mass_loss
from orchestrator.planning.plan import plan
from orchestrator.scheduler.protocol import Scheduler
from store.errors import StoreError

log = structlog.get_logger()

RETRY_SECONDS = 0.5
"""After a pass that the store left unanswered."""

PROGRESS_SHARE = 3.0
"""Following what merely goes on takes at most a third of the time: thousands of instances that
start at once would else be counted over and over."""

REFUSED_RETRY_SECONDS = 5.0
"""For a workload whose change the store has refused by itself."""


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """`mirror_patience_seconds`: how long our own write may take to come back by the watch."""

    full_pass_seconds: float = 30.0
    mass_loss_fraction: float = MASS_LOSS_FRACTION
    mirror_patience_seconds: float = 15.0


class Reconciler:
    """One term of office. `run` ends only by an error or by being cancelled."""

    def __init__(
        self,
        view: ClusterView,
        scheduler: Scheduler,
        committer: Committer,
        metrics: LeaderMetrics,
        *,
        may_dispatch: Callable[[], bool],
        settings: ReconcileSettings,
    ) -> None:
        self._view = view
        self._scheduler = scheduler
        self._committer = committer
        self._metrics = metrics
        self._may_dispatch = may_dispatch
        self._settings = settings
        self._dirty: set[WorkloadKey] = set()
        self._progress: set[WorkloadKey] = set()
        self._progress_at = 0.0
        self._turns = Turns(self._rank)
        self._unplaced: frozenset[WorkloadKey] = frozenset()
        self._releases_seen: int | None = None
        self._wake_at: dict[WorkloadKey, float] = {}
        self._patience_since = self._all_at = view.clock()
        self._full_pass_at = inf
        self._is_mass_loss = False
        self._wake = asyncio.Event()

    def look_again(self, news: News) -> None:
        """Called by the view after each batch of changes."""
        self._dirty |= news.workloads
        self._progress |= news.progress
        if news.nodes:
            self._dirty |= self._on_nodes(news.nodes)
            self._releases_seen = None  # a node may have come, or have room of another kind
            self._note_mass_loss()
        self._wake.set()

    def _on_nodes(self, nodes: frozenset[str]) -> set[WorkloadKey]:
        """The workloads that have, or may have, anything there."""
        state = self._view.state
        found = {
            place.instance.workload_key
            for node in nodes
            for place in state.places_by_node.get(node, ())
        }
        return found | state.orphans.keys()

    def _note_mass_loss(self) -> None:
        """The last nodes to come back shall have as much time as any other that is lost."""
        if self._is_mass_loss:
            self._patience_since = self._view.clock()
        was, self._is_mass_loss = self._is_mass_loss, self._finds_mass_loss()
        if was is not self._is_mass_loss:
            self._all_at = self._view.clock()

    def _finds_mass_loss(self) -> bool:
        return bool(mass_loss(self._view.state, self._settings.mass_loss_fraction))

    async def run(self) -> None:
        """Raises `LeadershipLost` when this replica must not go on."""
        self._note_mass_loss()
        with self._view.waking(self.look_again):
            while True:
                await self._wait_for_work()
                if not self._may_dispatch():
                    await asyncio.sleep(RETRY_SECONDS / 5)
                    continue
                await self._pass()
                await asyncio.sleep(0)  # a slice that changes nothing has awaited nothing

    async def _wait_for_work(self) -> None:
        due = min([self._all_at, self._full_pass_at, *self._wake_at.values()])
        if self._progress:
            due = min(due, self._progress_at)
        delay = due - self._view.clock()
        if self._dirty or self._turns or delay <= 0:
            return
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    async def _pass(self) -> None:
        now = self._view.clock()
        follows_progress = self._enqueue(now)
        scope = self._turns.draw()
        if not scope:
            return
        with self._metrics.planning():
            made = plan(
                self._view.state,
                now,
                self._scheduler,
                scope=scope,
                occupancy=self._view.occupancy,
                mass_loss_fraction=self._settings.mass_loss_fraction,
                patience_since=self._patience_since,
            )
        if follows_progress:
            took = self._view.clock() - now
            self._progress_at = now + PROGRESS_SHARE * took
        self._remember(made, scope)
        self._metrics.planned(made, self._unplaced)
        if made.changes or made.together:
            await self._commit(made)

    def _enqueue(self, now: float) -> bool:
        """What has changed or is due, or all; what waits for room, if there may be some; and, now
        and then, all as a routine. Whether what has only gone on is among it: that is looked at
        when nothing else is to be done, and does not take all of the time.
        """
        news = self._dirty | {workload for workload, at in self._wake_at.items() if at <= now}
        self._dirty = set()
        if now >= self._all_at:
            news.update(self._view.state.workload_keys())
            self._all_at, self._full_pass_at = inf, now + self._settings.full_pass_seconds
        elif now >= self._full_pass_at:
            self._turns.add_routine(self._view.state.workload_keys())
            self._full_pass_at = now + self._settings.full_pass_seconds
        releases = self._view.state.releases
        hopeful = self._unplaced if releases != self._releases_seen else frozenset()
        self._releases_seen = releases
        self._turns.add(news)
        self._turns.add(hopeful - news, after_news=True)
        if self._turns or now < self._progress_at or not self._progress:
            return False
        self._turns.add_routine(self._progress)
        self._progress = set()
        return True

    def _rank(self, workload: WorkloadKey) -> int:
        entry = self._view.state.workloads.get(workload)
        return entry.record.spec.priority.rank if entry else 0

    def _remember(self, made: Plan, scope: set[WorkloadKey]) -> None:
        for workload in scope:
            self._wake_at.pop(workload, None)
        self._wake_at.update(made.wake_at)
        self._progress -= scope
        self._dirty.update(made.capped)
        self._unplaced = (self._unplaced - scope).union(made.unplaced)

    async def _commit(self, made: Plan) -> None:
        try:
            report = await self._committer.carry_out(made, self._view.state)
        except StoreError as error:
            log.warning("the store gave no answer; looking again", problem=str(error))
            self._all_at = self._view.clock() + RETRY_SECONDS
            return
        self._metrics.committed(report)
        await self._see(report)

    async def _see(self, report: Report) -> None:
        """Go on only when the mirror shows what was written, or what stood in its way."""
        self._dirty |= report.open_workloads - report.put_off
        for workload in report.put_off:
            self._wake_at[workload] = self._view.clock() + REFUSED_RETRY_SECONDS
        try:
            async with asyncio.timeout(self._settings.mirror_patience_seconds):
                await self._view.reached(report.revision)
                for conflict, transaction in report.conflicts:
                    await self._view.shown(conflict, transaction.mutations)
        except TimeoutError:
            raise LeadershipLost(
                f"the watch has not delivered revision {report.revision} for"
                f" {self._settings.mirror_patience_seconds:g} s: leading blindly helps nobody"
            ) from None
        if report.was_interrupted:
            self._releases_seen = None  # some room that was meant for another may be left
        if report.was_interrupted and not report.committed:
            await asyncio.sleep(RETRY_SECONDS / 10)
