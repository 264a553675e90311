"""However mean the store is: guarded transactions happen once or not at all, and say which.

The store loses requests and replies, refuses, and carries out late what was given up on, while
leaders change and writers go on believing in old ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.simulation.history import (
    Entry,
    History,
    Violation,
    blind_overwrites,
    executions,
    gaps,
    unfenced_writes,
)
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.commit import commit
from store.memory.meanness import late
from store.patience import Patience
from store.transactions import (
    AnyTransaction,
    Check,
    Committed,
    Delete,
    Mutation,
    Put,
    Transaction,
)
from tests.support.memory import memory_cluster
from tests.support.writers import LEADER, Commit, Habits, Story, careless, puts_of, story_of

SEEDS = st.integers(0, 2**32)

MUTANT_SEEDS = range(10)

FOR_EVER = (1000.0, 1000.0)

RIVALS = Habits(is_shared=True, deletes=True)
"""They change, and delete, each other's objects."""


def fence_of(key: str) -> str | None:
    return None if key == LEADER else LEADER


def damage(story: Story) -> list[Violation]:
    entries = story.history.entries
    return [*gaps(entries), *blind_overwrites(entries), *unfenced_writes(entries, fence_of)]


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_committed_is_carried_out_once_and_all_else_never(seed: int) -> None:
    """Of objects that nobody else writes, so that what was done stays to be seen."""
    story = story_of(seed, Habits())
    times = executions(story.history.entries)

    assert damage(story) == []
    for transaction, outcome in story.told:
        done = times.get(transaction.op, [])
        if isinstance(outcome, Committed):
            assert done == ([outcome.revision] if puts_of(transaction) else [])
        elif outcome is None:
            assert len(done) <= 1
        else:
            assert done == []


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_rivals_do_no_damage_and_no_outcome_is_a_lie(seed: int) -> None:
    story = story_of(seed, RIVALS)
    times = executions(story.history.entries)

    assert damage(story) == []
    for transaction, outcome in story.told:
        done = times.get(transaction.op, [])
        if isinstance(outcome, Committed) and puts_of(transaction):
            assert outcome.revision in done
        elif outcome is not None:
            assert not is_still_there(story, transaction, outcome.revision)


def is_still_there(story: Story, transaction: AnyTransaction, revision: int) -> bool:
    """Whether any object carried the transaction's id at `revision`."""
    newest = {e.key: e for e in story.history.entries if e.revision <= revision}
    return any(e.stamp.get("op") == transaction.op for e in newest.values())


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_only_pure_creates_are_ever_carried_out_twice(seed: int) -> None:
    """See "Strays" in `store.transactions`."""
    story = story_of(seed, replace(RIVALS, leads_seconds=FOR_EVER))
    transactions = {transaction.op: transaction for transaction, _ in story.told}

    for op, done in executions(story.history.entries).items():
        if len(done) > 1:
            assert all(is_harmless_to_what_is_there(m) for m in transactions[op].mutations)


def is_harmless_to_what_is_there(mutation: Mutation) -> bool:
    return isinstance(mutation, Check) or mutation.base == 0


@in_virtual_time
async def test_a_late_create_comes_true_again_when_all_is_deleted() -> None:
    """What we live with; see "Strays" in `store.transactions`."""
    memory = memory_cluster()
    history = History()
    memory.observe(history.record)
    store = memory.connect("client")
    memory.link("client").luck.arrange(late(5.0))
    transaction = Transaction((Put("/a", b"{}", 0),), "x", None)
    patience = Patience(virtual_now, random.Random(1), limit_seconds=20.0)

    first = await commit(store, transaction, patience)
    assert isinstance(first, Committed)
    await commit(store, Transaction((Delete("/a", first.revision),), "y", None), patience)
    await asyncio.sleep(5.0)

    assert executions(history.entries) == {"x": [first.revision, first.revision + 2]}


@pytest.mark.parametrize(
    ("commit_of_mutant", "finds"),
    [
        (careless(guarded=False), blind_overwrites),
        (careless(fenced=False), lambda entries: unfenced_writes(entries, fence_of)),
    ],
    ids=["without the object's revision", "without the leader's epoch"],
)
def test_either_guard_alone_lets_damage_through_and_the_history_shows_it(
    commit_of_mutant: Commit, finds: Callable[[list[Entry]], list[Violation]]
) -> None:
    """Though no two writers share an object: their own late copies and late leaders suffice."""
    caught = [
        seed
        for seed in MUTANT_SEEDS
        if finds(story_of(seed, Habits(commit=commit_of_mutant)).history.entries)
    ]

    assert len(caught) > len(MUTANT_SEEDS) / 2, caught
