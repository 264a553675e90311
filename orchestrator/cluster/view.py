"""`ClusterView`: the store's contents, decoded and kept current by one watch.

Every controller replica has one; planner, API and metrics read its `state`. It tells who asks
*that* something changed and at which revision, so that they look again; it decides nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from orchestrator.model.cluster_state import ClusterState, Row
from orchestrator.model.keys import InstancePlace, Keys, Kind, ParsedKey
from orchestrator.model.workload import WorkloadKey
from orchestrator.planning.occupancy import Occupancy
from store.mirror import Batch, Mirror
from store.patience import Clock
from store.protocol import Store
from store.transactions import Conflict, Mutation

OF_PROGRESS = frozenset(
    {
        *(Kind.ASSIGNMENT, Kind.OBSERVATION, Kind.WORKLOAD_STATUS),
        *(Kind.VOLUME, Kind.IMAGE_PINS),
    }
)
OF_NODES = frozenset({Kind.DESIRED_NODE, Kind.NODE_REPORT, Kind.SESSION})


@dataclass(frozen=True, slots=True)
class News:
    """What a batch of changes is about.

    `workloads`: something was wanted, has failed, ended or gone. `progress`: they only went on as
    was to be expected: assigned, started, counted. `nodes`: what is said of these has changed.
    """

    workloads: frozenset[WorkloadKey]
    progress: frozenset[WorkloadKey]
    nodes: frozenset[str]


Wake = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class ViewChange:
    """One key has changed, at `revision`."""

    revision: int
    key: str


class ChangeSink(Protocol):
    def offer(self, changes: list[ViewChange]) -> None: ...


class ClusterView:
    """`run` keeps `state` current until the store is found to be another one (StoreReplaced)."""

    def __init__(self, store: Store, keys: Keys, *, clock: Clock, rng: random.Random) -> None:
        self.store = store
        self.keys = keys
        self.clock = clock
        self.state = ClusterState(keys)
        self.mirror = Mirror(store, keys.root, self._fold, clock=clock, rng=rng)
        self._sinks: list[ChangeSink] = []
        self._wakes: list[Wake] = []

    async def run(self) -> None:
        await self.mirror.run()

    @cached_property
    def occupancy(self) -> Occupancy:
        """Kept up to date from when it is first asked for: a standby that is never asked need not
        follow every row for it."""
        return Occupancy(self.state)

    @property
    def revision(self) -> int:
        """`state` holds everything up to this revision. It may be ahead of the last change under
        our root, which is `state.revision`."""
        return self.mirror.revision

    @property
    def is_synced(self) -> bool:
        return self.mirror.is_synced

    async def synced(self) -> None:
        await self.mirror.synced()

    async def reached(self, revision: int) -> None:
        """Wait until everything up to `revision` is in `state`."""
        await self.mirror.reached(revision)

    async def shown(self, conflict: Conflict, mutations: Iterable[Mutation]) -> None:
        """Wait until `state` has what the store held against a transaction of `mutations`.

        The conflict's revision alone would not do: it may be of a change outside our root, of
        which the mirror hears late. The keys alone would not do: they may be back as they were.
        """
        bases = {mutation.key: mutation.base for mutation in mutations}
        mirror = self.mirror

        def has_moved(key: str) -> bool:
            version = mirror.versions.get(key)
            return (version.mod_revision if version else 0) != bases[key]

        await mirror.until(
            lambda: mirror.revision >= conflict.revision or all(map(has_moved, conflict.keys))
        )

    @contextmanager
    def waking(self, wake: Wake) -> Iterator[None]:
        """Meanwhile call `wake` after each batch with its news."""
        self._wakes.append(wake)
        try:
            yield
        finally:
            self._wakes.remove(wake)

    def attach(self, sink: ChangeSink) -> None:
        """Offer `sink` each batch's changes for good, in the very step that brings them into
        `state`; it must not await."""
        self._sinks.append(sink)

    def _fold(self, batch: Batch) -> None:
        """The hot path: each controller does this for every row in the cluster."""
        now, apply = self.clock(), self.state.apply
        touched: set[WorkloadKey] = set()
        progress: set[WorkloadKey] = set()
        nodes: set[str] = set()
        for key, kv in batch.changes:
            row = Row(kv.value, kv.create_revision, kv.mod_revision) if kv else None
            parsed = apply(key, row, now)
            if parsed is None:
                continue
            if workload := parsed.workload:
                (progress if self._is_progress(parsed, row) else touched).add(workload)
            elif parsed.kind in OF_NODES:
                nodes.add(str(parsed.name))
        self.state.revision = batch.revision
        self._tell(batch, News(frozenset(touched), frozenset(progress), frozenset(nodes)))

    def _is_progress(self, parsed: ParsedKey, row: Row | None) -> bool:
        if row is None or parsed.kind not in OF_PROGRESS:
            return False
        if not isinstance(parsed.name, InstancePlace) or parsed.kind is Kind.ASSIGNMENT:
            return True
        entry = self.state.observations.get(parsed.name)
        return entry is not None and not entry.record.status.is_finished

    def _tell(self, batch: Batch, news: News) -> None:
        if self._sinks:
            changes = [
                ViewChange(change.kv.mod_revision if change.kv else batch.revision, change.key)
                for change in batch.changes
            ]
            for sink in self._sinks:
                sink.offer(changes)
        for wake in self._wakes:
            wake(news)
