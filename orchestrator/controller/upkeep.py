"""The leader's care of etcd: history compacted, members defragmented, old events dropped, backups
taken and proven.

Why compaction is safe for who watches: it goes to a revision that our own mirror had reached
`compaction_seconds` ago. A mirror of ours that has heard nothing for a few progress intervals (some
25 s) gives its watch up and lists anew, so none depends on history as old as that; and one that
met a compaction all the same would list anew too, and lose nothing but time. Compaction knows no
guard: two who believe to lead compact at revisions that are both old enough.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from orchestrator.cluster.view import ClusterView
from orchestrator.upkeep.drill import DrillResult, FindPrograms, Verdict, drill
from orchestrator.upkeep.metrics import UpkeepMetrics
from orchestrator.upkeep.programs import installed_programs
from orchestrator.upkeep.room import drop_oldest_events
from orchestrator.upkeep.snapshots import Snapshot, SnapshotDirectory, seconds_until_due
from orchestrator.upkeep.space import Level, mebibytes
from orchestrator.upkeep.watch import SpaceWatch
from store.defragmentation import Bar, defragment_where_worthwhile
from store.errors import StoreError
from store.maintenance import Sighting, compact_behind, revision_to_compact

log = structlog.get_logger()

Tell = Callable[[str, str, str], Awaitable[None]]
"""(kind, subject, reason)"""

SUBJECT = "etcd"

LOOK_SECONDS = 10.0

SOON_BEHIND_SECONDS = 60.0
"""How old what is compacted must be when room is short: more than any watch of ours survives
without a word."""

SHRINK_BAR = Bar(free_bytes=0, free_share=0.1)
"""What makes defragmenting worth it when room is short."""

MEMBERS_FOR_TIDINESS = 3
"""Where fewer are, the store stands still with a member: that is worth it for want of room only."""

DEFRAGMENT_PAUSE_SECONDS = 30.0
DEFRAGMENT_AGAIN_SECONDS = 600.0
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class UpkeepTerms:
    """`endpoints`: how many members must answer for one to be defragmented.
    `is_active`: etcd's own affairs are ours to tend. `compaction_seconds` 0: history is left to
    etcd. `events_kept`: at most, as every controller has them in memory."""

    endpoints: int = 1
    is_active: bool = True
    compaction_seconds: float = 300.0
    snapshot_interval_seconds: float = 3600.0
    drills: bool = True
    events_kept: int = 50_000
    look_seconds: float = LOOK_SECONDS


class Upkeep:
    """One per process."""

    def __init__(
        self,
        view: ClusterView,
        space: SpaceWatch,
        metrics: UpkeepMetrics,
        *,
        wall_clock: Callable[[], float],
        rng: random.Random,
        terms: UpkeepTerms = UpkeepTerms(),
        snapshots: SnapshotDirectory | None = None,
        find_programs: FindPrograms = installed_programs,
    ) -> None:
        self._view = view
        self._space = space
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._rng = rng
        self._terms = terms
        self._snapshots = snapshots
        self._find_programs = find_programs
        self._sightings: deque[Sighting] = deque()
        self._compacted_at = 0.0
        self._compacted_revision = 0
        self._defragmented_at = float("-inf")
        self._told = Level.ROOMY

    async def tend(self, tell: Tell, may_act: Callable[[], bool]) -> NoReturn:
        """History and pages, for one term of office. `may_act`: whether this replica may still
        believe that it leads.

        Raises only what `tell` does: nothing that fails here is worth a term of office.
        """
        self._sightings.clear()
        self._compacted_at = self._view.clock()
        with self._space.leading():
            while True:
                self._see()
                await self._tell_of_space(tell)
                if may_act():
                    await self._keep_house(tell, may_act)
                await asyncio.sleep(self._terms.look_seconds)

    async def keep_snapshots(self, tell: Tell) -> None:
        """Backups, for one term of office; raises what `tell` does. Returns if none are wanted."""
        directory = self._snapshots
        while directory:
            try:
                await asyncio.sleep(await self._until_snapshot(directory))
                snapshot = await directory.take(self._view.store)
            except (StoreError, OSError) as error:
                self._note_failure("snapshot", error)
                await tell("EtcdBackupFailed", SUBJECT, str(error))
                await asyncio.sleep(RETRY_SECONDS * self._rng.uniform(0.5, 1.0))
                continue
            self._metrics.took(snapshot)
            log.info("backup taken", path=str(snapshot.path), size=mebibytes(snapshot.size_bytes))
            if self._terms.drills:
                await self._drill(snapshot, tell)

    async def _keep_house(self, tell: Tell, may_act: Callable[[], bool]) -> None:
        try:
            await self._drop_events()
            if self._terms.is_active:
                await self._compact()
                await self._defragment(tell, may_act)
        except StoreError as error:
            self._note_failure("tend", error)
            await asyncio.sleep(RETRY_SECONDS)

    def _see(self) -> None:
        """Where our mirror is now; what is older than is ever asked for, is forgotten."""
        now = self._view.clock()
        if self._view.is_synced:
            self._sightings.append(Sighting(now, self._view.revision))
        limit = max(self._terms.compaction_seconds, SOON_BEHIND_SECONDS)
        while len(self._sightings) > 1 and now - self._sightings[1].seen_at >= limit:
            self._sightings.popleft()

    async def _tell_of_space(self, tell: Tell) -> None:
        level, warning = self._space.measures.level, self._space.measures.warning
        if level is self._told:
            return
        kind = "EtcdSpaceLow" if warning else "EtcdSpaceRegained"
        self._told = level
        await tell(kind, SUBJECT, warning or "etcd has room again")

    async def _drop_events(self) -> None:
        view = self._view
        names = view.state.events
        dropped = await drop_oldest_events(view.store, view.keys, names, self._terms.events_kept)
        if dropped:
            log.info("old events dropped", count=dropped)

    async def _compact(self) -> None:
        seconds, now = self._terms.compaction_seconds, self._view.clock()
        if not seconds:
            return
        is_due = now - self._compacted_at >= seconds
        is_urgent = self._space.measures.must_shrink
        behind = min(seconds, SOON_BEHIND_SECONDS) if is_urgent else seconds
        revision = revision_to_compact(self._sightings, now, behind)
        if revision is None or revision <= self._compacted_revision or not (is_due or is_urgent):
            return
        await compact_behind(self._view.store, self._sightings, now, behind)
        self._compacted_at, self._compacted_revision = now, revision
        self._metrics.compacted(revision, self._wall_clock())
        log.info("compacted", revision=revision)

    async def _defragment(self, tell: Tell, may_act: Callable[[], bool]) -> None:
        now, is_urgent = self._view.clock(), self._space.measures.must_shrink
        is_lone = self._terms.endpoints < MEMBERS_FOR_TIDINESS
        if now - self._defragmented_at < DEFRAGMENT_AGAIN_SECONDS or (is_lone and not is_urgent):
            return
        done = await defragment_where_worthwhile(
            self._view.store,
            endpoints=self._terms.endpoints,
            bar=SHRINK_BAR if is_urgent else Bar(),
            pause_seconds=DEFRAGMENT_PAUSE_SECONDS,
            may_go_on=may_act,
        )
        if done:
            self._defragmented_at = now
            await tell("EtcdDefragmented", SUBJECT, f"gave pages back: {', '.join(done)}")

    async def _until_snapshot(self, directory: SnapshotDirectory) -> float:
        """Counted from the newest that is there, whoever took it: a new leader takes none at
        once."""
        newest = await asyncio.to_thread(directory.newest)
        if newest:
            self._metrics.took(newest)
        return seconds_until_due(newest, self._wall_clock(), self._terms.snapshot_interval_seconds)

    async def _drill(self, snapshot: Snapshot, tell: Tell) -> None:
        result = await drill(
            snapshot.path,
            self._view.store,
            clock=self._view.clock,
            find_programs=self._find_programs,
        )
        self._metrics.drilled(result)
        await tell(*_told(snapshot, result))

    def _note_failure(self, task: str, error: Exception) -> None:
        self._metrics.failed(task)
        log.warning("etcd is not cared for as it should be", task=task, problem=str(error))


def _told(snapshot: Snapshot, result: DrillResult) -> tuple[str, str, str]:
    name = snapshot.path.name
    kinds = {
        Verdict.PROVEN: "EtcdBackupProven",
        Verdict.FAILED: "EtcdBackupUseless",
        Verdict.NOT_DONE: "EtcdBackupUnproven",
    }
    return kinds[result.verdict], SUBJECT, f"{name}: {result.reason}"
