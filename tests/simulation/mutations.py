"""Builds with one safeguard taken out: what the checkers are there to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.agent.steps import Situation
from orchestrator.runtime.simulated_watchdog import SimulatedWatchdog
from store import commit
from store.fragments import Assembler
from store.ledger import Change, Ledger, Version
from store.transactions import AnyTransaction, Leadership
from store.values import Event, Txn, WatchResponse

Mutation = Callable[[pytest.MonkeyPatch], None]


def leader_guard_off(patch: pytest.MonkeyPatch) -> None:
    """The leader's writes do not prove that it still leads."""
    build = commit.to_txn

    def unfenced(transaction: AnyTransaction) -> Txn:
        return build(transaction, fenced=not isinstance(transaction.fence, Leadership))

    patch.setattr(commit, "to_txn", unfenced)


def object_guard_off(patch: pytest.MonkeyPatch) -> None:
    """Nobody's writes name the revision that they were computed from."""
    build = commit.to_txn
    patch.setattr(commit, "to_txn", lambda transaction: build(transaction, guarded=False))


def adoption_by_name(patch: pytest.MonkeyPatch) -> None:
    """An agent takes a container for an assignment's by its instance's name alone."""

    def take_all(situation: Situation) -> None:
        object.__setattr__(situation, "own", situation.containers)

    patch.setattr(Situation, "__post_init__", take_all)


def fragments_apart(patch: pytest.MonkeyPatch) -> None:
    """A part of a response is taken for the whole."""

    def whole(_assembler: Assembler, response: WatchResponse) -> WatchResponse:
        return response

    patch.setattr(Assembler, "add", whole)


def repeats_believed(patch: pytest.MonkeyPatch) -> None:
    """An event is news whenever it comes, though it be old."""

    def fold(ledger: Ledger, events: tuple[Event, ...]) -> list[Change]:
        changes = []
        for event in events:
            kv = event.kv
            ledger.revision = kv.mod_revision
            if event.is_delete:
                ledger.versions.pop(kv.key, None)
            else:
                ledger.versions[kv.key] = Version(kv.create_revision, kv.mod_revision)
            changes.append(Change(kv.key, None if event.is_delete else kv))
        return changes

    patch.setattr(Ledger, "_fold_events", fold)


def watchdog_off(patch: pytest.MonkeyPatch) -> None:
    """Nobody stops on a node that is cut off what was to be stopped there."""
    patch.setattr(SimulatedWatchdog, "_tell", lambda *_: None)
