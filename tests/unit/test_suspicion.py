"""Whether a node that looks dead from the leader is: never by fewer than two witnesses."""

from __future__ import annotations

import random
from itertools import product

import pytest

from orchestrator.controller.suspicion import (
    ASKED_WITNESSES,
    NEEDED_WITNESSES,
    Evidence,
    chosen_witnesses,
    doubt,
    witnesses_of,
)
from orchestrator.process.witness import Statement

REFUSED, HEARD, UNCLEAR = Statement.REFUSED, Statement.HEARD, Statement.UNCLEAR


def evidence(*found: Statement, has_promised: bool = False) -> Evidence:
    statements = {f"n{number}": each for number, each in enumerate(found, 2)}
    return Evidence("n1", statements, has_promised)


@pytest.mark.parametrize("found", [(REFUSED, REFUSED), (REFUSED, UNCLEAR, REFUSED)])
def test_two_who_find_the_same_are_enough(found: tuple[Statement, ...]) -> None:
    assert doubt(evidence(*found)) == ""


@pytest.mark.parametrize("count", range(5))
def test_of_all_that_can_be_found_only_two_refusals_and_no_contradiction_convict(
    count: int,
) -> None:
    for found in product(Statement, repeat=count):
        is_dead = found.count(REFUSED) >= NEEDED_WITNESSES and HEARD not in found
        assert (doubt(evidence(*found)) == "") is is_dead, found


def test_who_hears_it_is_named() -> None:
    assert "n3 found" in doubt(evidence(REFUSED, HEARD, REFUSED))


def test_how_many_are_missing_is_told() -> None:
    assert doubt(evidence(REFUSED, UNCLEAR)).startswith("1 of the 2 witnesses")


def test_the_suspects_own_word_counts_for_nothing() -> None:
    own = Evidence("n1", {"n1": REFUSED, "n2": REFUSED})
    assert doubt(own)
    assert witnesses_of(own) == ["n2"]
    assert doubt(Evidence("n1", {"n1": HEARD, "n2": REFUSED, "n3": REFUSED})) == ""


def test_a_promise_to_stop_what_runs_counts_from_the_end_of_the_lease() -> None:
    assert "has promised" in doubt(evidence(REFUSED, REFUSED, has_promised=True))


@pytest.mark.parametrize("others", [[], ["n2"]])
def test_where_two_cannot_be_found_nobody_is_asked(others: list[str]) -> None:
    assert chosen_witnesses("n1", ["n1", *others], random.Random(1)) == []


@pytest.mark.parametrize("others", [["n2", "n3"], ["n2", "n3", "n4"], [f"n{i}" for i in range(99)]])
def test_the_witnesses_are_others_and_few(others: list[str]) -> None:
    chosen = chosen_witnesses("n1", [*others, "n1"], random.Random(1))
    assert "n1" not in chosen
    assert len(chosen) == len(set(chosen)) == min(ASKED_WITNESSES, len(set(others) - {"n1"}))
