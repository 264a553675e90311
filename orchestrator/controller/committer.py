"""`Committer`: a plan's changes become fenced transactions, one after the other.

A conflict is no error: somebody was faster, so the rest of the plan is dropped and the leader
looks again. A pass that follows a conflict or a refusal sends each change by itself, so that
one contested or unfit workload holds up no other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from orchestrator.cluster.events import EventLog
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
    """What became of a plan. `revision` is that of its last commit.

    `open_workloads` were not committed, or not to their last part; those of them in `put_off` the
    store has refused by themselves, so that trying again at once would only be refused again.
    """

    revision: int = 0
    committed: int = 0
    open_workloads: set[WorkloadKey] = field(default_factory=set)
    put_off: set[WorkloadKey] = field(default_factory=set)
    was_interrupted: bool = False
    conflicts: list[tuple[Conflict, Transaction[Leadership]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """A change, and what it comes to in the state that it was planned from."""

    change: Change
    mutations: tuple[Mutation, ...]


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
            part = Part(change, mutations_of(change, state))
            queues.setdefault(change.workload, []).append(part)
        report = Report(open_workloads=set(queues))
        if self._is_cautious:
            await self._one_by_one(queues, report)
        else:
            await self._together(queues, report)
        self._is_cautious = report.was_interrupted
        return report

    async def _together(self, queues: Mapping[WorkloadKey, list[Part]], report: Report) -> None:
        """The first part of every workload, then every second one...: parts build on each other."""
        written: dict[str, int] = {}
        for turn in range(max(map(len, queues.values()), default=0)):
            due = [queue[turn] for queue in queues.values() if turn < len(queue)]
            if not await self._carry_out_batch(due, written, report):
                return
            report.open_workloads = {
                workload for workload, queue in queues.items() if turn + 1 < len(queue)
            }

    async def _one_by_one(self, queues: Mapping[WorkloadKey, list[Part]], report: Report) -> None:
        """A part that fails holds up its workload's later ones, as these build on it."""
        for workload, queue in queues.items():
            written: dict[str, int] = {}
            for part in queue:
                if not await self._carry_out_batch([part], written, report):
                    break
            else:
                report.open_workloads.discard(workload)

    async def tell(self, kind: str, subject: str, reason: str) -> None:
        """An event of its own, beside those of changes; no term of office ends over a lost one.

        Raises `LeadershipLost`.
        """
        try:
            outcome = await self._commit_event(kind, subject, reason)
        except StoreError as error:
            log.warning("an event is lost", kind=kind, subject=subject, problem=str(error))
            return
        if isinstance(outcome, FenceLost):
            raise LeadershipLost(f"another replica leads since before {outcome.revision}")
        log.info(kind, subject=subject, reason=reason)

    async def _commit_event(self, kind: str, subject: str, reason: str) -> Outcome:
        """On a lease that may have ended: then on a new one."""
        try:
            return await self._try_event(kind, subject, reason)
        except LeaseNotFound:
            self._events.forget_lease()
            return await self._try_event(kind, subject, reason)

    async def _try_event(self, kind: str, subject: str, reason: str) -> Outcome:
        row = await self._events.put_for(kind, subject, reason)
        transaction = Transaction((row,), self._new_op(), self._leadership)
        return await commit_as_leader(self._store, transaction, self._patience())

    async def _carry_out_batch(
        self, parts: Sequence[Part], written: dict[str, int], report: Report
    ) -> bool:
        """Whether all of them are committed."""
        changes = [part.change for part in parts]
        try:
            groups = [await self._group(part, written) for part in parts]
            for transaction in batched(groups, self._leadership, self._new_op):
                outcome = await commit_as_leader(self._store, transaction, self._patience())
                if not _is_done(outcome, transaction, report):
                    return False
                written.update(_written(transaction, report.revision))
        except Refused as refusal:
            self._note_refusal(refusal, changes, report)
            return False
        for change in changes:
            _log_change(change, report.revision)
        return True

    async def _group(self, part: Part, written: dict[str, int]) -> tuple[Mutation, ...]:
        rows = [
            await self._events.put_for(
                story.kind, story.subject, story.reason, namespace=story.namespace
            )
            for story in stories_of(part.change)
        ]
        return (*following(part.mutations, written), *rows)

    def _note_refusal(self, refusal: Refused, changes: Sequence[Change], report: Report) -> None:
        report.was_interrupted = True
        if isinstance(refusal, LeaseNotFound):
            self._events.forget_lease()
        elif len(changes) == 1:
            report.put_off.add(changes[0].workload)
        workloads = sorted(str(change.workload) for change in changes)
        log.error("the store refuses a commit", problem=str(refusal), workloads=workloads)

    def _new_op(self) -> str:
        return new_op(self._rng)


def _is_done(outcome: Outcome, transaction: Transaction[Leadership], report: Report) -> bool:
    if isinstance(outcome, FenceLost):
        raise LeadershipLost(f"another replica leads since before {outcome.revision}")
    if isinstance(outcome, Conflict):
        log.info("commit conflicts; looking again", keys=outcome.keys)
        report.conflicts.append((outcome, transaction))
        report.was_interrupted = True
        return False
    report.revision = outcome.revision
    report.committed += 1
    return True


def _written(transaction: Transaction[Leadership], revision: int) -> dict[str, int]:
    puts = (each for each in transaction.mutations if isinstance(each, Put))
    return {put.key: revision for put in puts}


def _log_change(change: Change, revision: int) -> None:
    for story in stories_of(change):
        log.info(story.kind, subject=story.subject, reason=story.reason, revision=revision)
