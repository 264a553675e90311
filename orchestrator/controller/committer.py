"""`Committer`: a plan's changes become fenced transactions.

Those of different workloads share no key but the leader's, and so several of them are under way at
once, in whatever order the store takes them. The parts of one workload's change go one after the
other: each is guarded by the status that the one before it has written.

A conflict is no error: somebody was faster, so the rest of the plan is dropped and the leader
looks again. A pass that follows a conflict or a refusal sends each change by itself, so that
one contested or unfit workload holds up no other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import structlog

from orchestrator.cluster.events import EventLog
from orchestrator.controller.lanes import in_lanes
from orchestrator.controller.writes import following, mutations_of, stories_of
from orchestrator.model.actions import Change, Plan
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import ClusterError
from orchestrator.model.workload import WorkloadKey
from store.commit import commit_as_leader
from store.errors import LeaseNotFound, Refused, StoreError
from store.patience import Patience
from store.protocol import Store
from store.transactions import (
    Conflict,
    FenceLost,
    Leadership,
    Mutation,
    Outcome,
    Put,
    Transaction,
    batched,
    new_op,
)

log = structlog.get_logger()

IN_FLIGHT = 8
"""Transactions at once. One alone leaves etcd idle while we prepare the next: eight were measured
to commit about half as much again, with one member and with three. Sixteen gain little more, and
let as many go on after a conflict."""

NEXT_MOVE = (
    "start this replica again, unless its supervisor does, and it stands by; if etcd was wiped or"
    " restored, agents obey it only when started once with --accept-store"
)


class LeadershipLost(ClusterError):
    """Another replica leads, or may. This process must not decide anything any more."""

    def __init__(self, finding: str) -> None:
        super().__init__(f"{finding}. What runs goes on; {NEXT_MOVE}")


@dataclass(slots=True)
class Report:
    """What became of a plan. `revision` is the highest of its commits.

    `open_workloads` were not committed to their last part, or nobody has looked whether they
    were; those of them in `put_off` the store has refused by themselves, so that trying again at
    once would only be refused again.
    """

    revision: int = 0
    committed: int = 0
    open_workloads: set[WorkloadKey] = field(default_factory=set)
    put_off: set[WorkloadKey] = field(default_factory=set)
    was_interrupted: bool = False
    conflicts: list[tuple[Conflict, Transaction[Leadership]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """What goes into one transaction, and what it comes to in the state that it was planned from:
    a change of one workload, or several that only make sense together."""

    changes: tuple[Change, ...]
    mutations: tuple[Mutation, ...]

    @property
    def workloads(self) -> set[WorkloadKey]:
        return {change.workload for change in self.changes}


class Committer:
    """Writes for one term of office: made with the `Leadership` that proves it."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        events: EventLog,
        *,
        patience: Callable[[], Patience],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._events = events
        self._patience = patience
        self._rng = rng
        self._is_cautious = False

    async def carry_out(self, plan: Plan, state: ClusterState) -> Report:
        """Commit until done, or until somebody else's write makes the rest stale.

        `state` goes on while we wait for the store; so all guards are taken from it at once.
        Raises `LeadershipLost`, and `StoreError` when the store gives no definite answer.
        """
        queues: dict[WorkloadKey, list[Part]] = {}
        for change in plan.changes:
            queues.setdefault(change.workload, []).append(_part((change,), state))
        units = [_part(changes, state) for changes in plan.together]
        report = Report(open_workloads=set(queues).union(*(unit.workloads for unit in units)))
        if self._is_cautious:
            await self._one_by_one(queues, units, report)
        else:
            await self._together(queues, units, report)
        self._is_cautious = report.was_interrupted
        return report

    async def _together(
        self, queues: Mapping[WorkloadKey, list[Part]], units: Sequence[Part], report: Report
    ) -> None:
        """The first part of every workload, then every second one...: parts build on each other.
        Units come last, one after the other, as they may share workloads."""
        written: dict[str, int] = {}
        due_later = set().union(*(unit.workloads for unit in units))
        for turn in range(max(map(len, queues.values()), default=0)):
            due = [queue[turn] for queue in queues.values() if turn < len(queue)]
            if not await self._carry_out_batch(due, written, report):
                return
            report.open_workloads = due_later | {
                workload for workload, queue in queues.items() if turn + 1 < len(queue)
            }
        for index, unit in enumerate(units):
            if not await self._carry_out_alone(unit, written, report):
                return
            report.open_workloads = set().union(*(each.workloads for each in units[index + 1 :]))

    async def _one_by_one(
        self, queues: Mapping[WorkloadKey, list[Part]], units: Sequence[Part], report: Report
    ) -> None:
        """A part that fails holds up what builds on it: its workloads' later ones."""
        written: dict[str, int] = {}

        async def carry_out(queue: list[Part]) -> None:
            for part in queue:
                if not await self._carry_out_alone(part, written, report):
                    stuck.update(part.workloads)
                    return

        stuck: set[WorkloadKey] = set()
        await in_lanes(IN_FLIGHT, queues.values(), carry_out)
        for unit in units:
            if stuck & unit.workloads or not await self._carry_out_alone(unit, written, report):
                stuck.update(unit.workloads)
        report.open_workloads = stuck

    async def tell(self, kind: str, subject: str, reason: str, namespace: str = "") -> None:
        """An event of its own, beside those of changes; no term of office ends over a lost one.

        Raises `LeadershipLost`.
        """
        try:
            outcome = await self._commit_event(kind, subject, reason, namespace)
        except StoreError as error:
            log.warning("an event is lost", kind=kind, subject=subject, problem=str(error))
            return
        if isinstance(outcome, FenceLost):
            raise LeadershipLost(f"another replica leads since before {outcome.revision}")
        log.info(kind, subject=subject, reason=reason)

    async def _commit_event(self, kind: str, subject: str, reason: str, namespace: str) -> Outcome:
        """On a lease that may have ended: then on a new one."""
        try:
            return await self._try_event(kind, subject, reason, namespace)
        except LeaseNotFound:
            self._events.forget_lease()
            return await self._try_event(kind, subject, reason, namespace)

    async def _try_event(self, kind: str, subject: str, reason: str, namespace: str) -> Outcome:
        row = await self._events.put_for(kind, subject, reason, namespace=namespace)
        transaction = Transaction((row,), self._new_op(), self._leadership)
        return await commit_as_leader(self._store, transaction, self._patience())

    async def _carry_out_batch(
        self, parts: Sequence[Part], written: dict[str, int], report: Report
    ) -> bool:
        """Whether all of them are committed. After one failure no further transaction is begun;
        those under way come to their ends."""

        async def send(transaction: Transaction[Leadership]) -> None:
            try:
                await self._send(transaction, written, report)
            except Refused as refusal:
                self._note_refusal(refusal, parts, report)

        def transactions(groups: Sequence[Sequence[Mutation]]) -> Iterator[Transaction[Leadership]]:
            try:
                batches = batched(groups, self._leadership, self._new_op)
                yield from takewhile(lambda _: not report.was_interrupted, batches)
            except Refused as refusal:
                self._note_refusal(refusal, parts, report)

        try:
            groups = [await self._group(part, written) for part in parts]
        except Refused as refusal:
            self._note_refusal(refusal, parts, report)
            return False
        await in_lanes(IN_FLIGHT, transactions(groups), send)
        if report.was_interrupted:
            return False
        for part in parts:
            _log(part, report.revision)
        return True

    async def _carry_out_alone(self, part: Part, written: dict[str, int], report: Report) -> bool:
        """Whether it is committed."""
        try:
            group = await self._group(part, written)
            for transaction in batched([group], self._leadership, self._new_op):
                if not await self._send(transaction, written, report):
                    return False
        except Refused as refusal:
            self._note_refusal(refusal, [part], report)
            return False
        _log(part, report.revision)
        return True

    async def _send(
        self, transaction: Transaction[Leadership], written: dict[str, int], report: Report
    ) -> bool:
        """Whether it is committed. Raises `LeadershipLost`, and `StoreError` as `commit` does."""
        outcome = await commit_as_leader(self._store, transaction, self._patience())
        if isinstance(outcome, FenceLost):
            raise LeadershipLost(f"another replica leads since before {outcome.revision}")
        if isinstance(outcome, Conflict):
            log.info("commit conflicts; looking again", keys=outcome.keys)
            report.conflicts.append((outcome, transaction))
            report.was_interrupted = True
            return False
        report.revision = max(report.revision, outcome.revision)
        report.committed += 1
        written.update(
            (each.key, outcome.revision) for each in transaction.mutations if isinstance(each, Put)
        )
        return True

    async def _group(self, part: Part, written: dict[str, int]) -> tuple[Mutation, ...]:
        if self._events.is_thinned():
            return tuple(following(part.mutations, written))
        rows = [
            await self._events.put_for(
                story.kind, story.subject, story.reason, namespace=story.namespace
            )
            for change in part.changes
            for story in stories_of(change)
        ]
        return (*following(part.mutations, written), *rows)

    def _note_refusal(self, refusal: Refused, parts: Sequence[Part], report: Report) -> None:
        report.was_interrupted = True
        concerned: set[WorkloadKey] = set().union(*(part.workloads for part in parts))
        if isinstance(refusal, LeaseNotFound):
            self._events.forget_lease()
        elif len(parts) == 1:
            report.put_off |= concerned
        workloads = sorted(map(str, concerned))
        log.error("the store refuses a commit", problem=str(refusal), workloads=workloads)

    def _new_op(self) -> str:
        return new_op(self._rng)


def _part(changes: tuple[Change, ...], state: ClusterState) -> Part:
    return Part(changes, tuple(each for change in changes for each in mutations_of(change, state)))


def _log(part: Part, revision: int) -> None:
    for change in part.changes:
        for story in stories_of(change):
            log.info(story.kind, subject=story.subject, reason=story.reason, revision=revision)
