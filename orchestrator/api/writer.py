"""`DesiredWriter`: carries out what people want, as guarded transactions. It knows no HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from orchestrator.api.bodies import NodePatch
from orchestrator.api.errors import NotCurrent, Outdated, TooLarge
from orchestrator.api.growth import scaled, unless_it_grows
from orchestrator.api.intents import ANYTHING, Happening, Intent, Precondition
from orchestrator.api.move_intents import move_instance, stay
from orchestrator.api.node_intents import change_node, remove_node
from orchestrator.api.workload_intents import apply_workload, delete_workload, scale_workload
from orchestrator.cluster.view import ClusterView
from orchestrator.model.answers import Outcome, Written
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import StateError
from orchestrator.model.instance import InstanceName, Move
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadDefinition, WorkloadKey
from store.commit import commit
from store.errors import LeaseNotFound, OutcomeUnknown, Unavailable
from store.patience import Patience
from store.transactions import (
    MAX_BYTES,
    Committed,
    Conflict,
    Mutation,
    Put,
    Transaction,
    new_op,
)

MAX_TRIES = 10
"""Each lost race means that somebody else's write has won. After ten in a row the client is
told, rather than kept waiting."""


class EventWriter(Protocol):
    """What `cluster.events.EventLog` gives: rows that go into the transaction of a change."""

    async def put_for(
        self, kind: str, subject: str, reason: str, *, namespace: str = ""
    ) -> Put: ...

    def forget_lease(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """On which conditions something is written, and whether it is written at all."""

    precondition: Precondition = ANYTHING
    is_dry_run: bool = False


AS_IT_COMES = Terms()

Decide = Callable[[ClusterState], Intent]


class DesiredWriter:
    """Writes under `desired/`, with the objects' own guards; any replica may, leader or not.

    Each method raises the refusals of its intent (`WorkloadNotFound`, `NodeNotFound`,
    `StateError`, `ConfigError`, `PreconditionFailed`), `StateError` when others keep changing the
    object, `NoRoom` for more than a nearly full store should take, `NotCurrent` when the mirror
    does not keep up, `Outdated` when the store is laid out for a newer release, and the store's
    errors: `Unavailable` means that nothing was done, `OutcomeUnknown` and `NoSpace` that it may
    have been. All may be repeated as they are.
    """

    def __init__(
        self,
        view: ClusterView,
        events: EventWriter,
        *,
        rng: random.Random,
        patience_seconds: float = 8.0,
        why_not_grow: Callable[[], str] = lambda: "",
    ) -> None:
        """`why_not_grow`: why the store has no room for more, in words; empty while it has."""
        self._view = view
        self._events = events
        self._rng = rng
        self._patience = Patience(view.clock, rng, limit_seconds=patience_seconds)
        self._why_not_grow = why_not_grow

    async def apply(self, definition: WorkloadDefinition, terms: Terms = AS_IT_COMES) -> Written:
        def decide(state: ClusterState) -> Intent:
            intent = apply_workload(state, definition, terms.precondition)
            return unless_it_grows(intent, state, definition, self._why_not_grow())

        return await self._carry_out(decide, f"workload {definition.key}", terms)

    async def scale(self, key: WorkloadKey, replicas: int, terms: Terms = AS_IT_COMES) -> Written:
        def decide(state: ClusterState) -> Intent:
            intent = scale_workload(state, key, replicas, terms.precondition)
            wanted = scaled(state, key, replicas)
            return unless_it_grows(intent, state, wanted, self._why_not_grow())

        return await self._carry_out(decide, f"workload {key}", terms)

    async def delete(self, key: WorkloadKey, terms: Terms = AS_IT_COMES) -> Written:
        decide = partial(delete_workload, key=key, precondition=terms.precondition)
        return await self._carry_out(decide, f"workload {key}", terms)

    async def change_node(self, name: str, patch: NodePatch, terms: Terms = AS_IT_COMES) -> Written:
        decide = partial(change_node, name=name, patch=patch, precondition=terms.precondition)
        return await self._carry_out(decide, f"node {name}", terms)

    async def remove_node(self, name: str, terms: Terms = AS_IT_COMES) -> Written:
        decide = partial(remove_node, name=name, precondition=terms.precondition)
        return await self._carry_out(decide, f"node {name}", terms)

    async def move(
        self, place: InstancePlace, move: Move, assignment: int, terms: Terms = AS_IT_COMES
    ) -> Written:
        """`assignment`: the mod_revision that the move was decided from."""
        decide = partial(
            move_instance,
            place=place,
            move=move,
            assignment=assignment,
            precondition=terms.precondition,
        )
        return await self._carry_out(decide, f"instance {place.instance}", terms)

    async def stay(self, name: InstanceName, terms: Terms = AS_IT_COMES) -> Written:
        """Take the wish to move an instance back."""
        decide = partial(stay, name=name, precondition=terms.precondition)
        return await self._carry_out(decide, f"instance {name}", terms)

    async def _carry_out(self, decide: Decide, subject: str, terms: Terms) -> Written:
        for _ in range(MAX_TRIES):
            if refusal := self._view.state.refusal:
                raise Outdated(f"nothing was changed: {refusal}")
            intent = decide(self._view.state)
            if terms.is_dry_run:
                intent = intent.as_checks()
            try:
                outcome = await self._commit(intent)
            except LeaseNotFound:
                self._events.forget_lease()
                continue
            if isinstance(outcome, Conflict):
                await self._catch_up(intent, outcome)
                continue
            if intent.refusal:
                raise intent.refusal
            return self._written(intent, outcome)
        raise StateError(f"{subject} is being changed by others all the time: try again later")

    async def _commit(self, intent: Intent) -> Committed | Conflict:
        mutations = intent.mutations
        if intent.happening:
            mutations = (*mutations, await self._event(intent.happening))
        _require_room(mutations)
        transaction = Transaction(mutations, new_op(self._rng), fence=None)
        outcome = await commit(self._view.store, transaction, self._patience)
        assert isinstance(outcome, Committed | Conflict), "no fence was given, so none is lost"
        return outcome

    async def _event(self, happening: Happening) -> Put:
        """Its lease may have to be granted first, which can be repeated freely."""
        try:
            async for attempt in self._patience.retrying(Unavailable, OutcomeUnknown):
                with attempt:
                    return await self._events.put_for(
                        happening.kind,
                        happening.subject,
                        happening.reason,
                        namespace=happening.namespace,
                    )
        except OutcomeUnknown as error:
            raise Unavailable(str(error)) from error
        raise AssertionError("retrying ends by an answer or an error")

    async def _catch_up(self, intent: Intent, conflict: Conflict) -> None:
        try:
            async with asyncio.timeout(self._patience.limit_seconds):
                await self._view.shown(conflict, intent.mutations)
        except TimeoutError:
            raise NotCurrent(
                f"nothing was changed: this replica has read the store up to revision "
                f"{self._view.revision} only, which is too old to decide: try again, or ask "
                "another replica"
            ) from None

    def _written(self, intent: Intent, committed: Committed) -> Written:
        has_written = intent.happening is not None
        is_there = intent.outcome is not Outcome.DELETED
        return Written(
            revision=committed.revision if has_written else self._view.revision,
            outcome=intent.outcome,
            mod_revision=(committed.revision if is_there else 0) if has_written else intent.base,
            generation=intent.generation,
            changes=intent.changes,
        )


def _require_room(mutations: Sequence[Mutation]) -> None:
    size = sum(len(each.value) for each in mutations if isinstance(each, Put))
    if size > MAX_BYTES:
        raise TooLarge(
            f"it takes {size} bytes in the store, which is more than the {MAX_BYTES} that fit "
            "into one transaction: make it smaller, as by moving large values into files"
        )
