"""I10, the half about time: a place that is free is taken, as soon as somebody can take it."""

from __future__ import annotations

from orchestrator.simulation.history import Violation
from orchestrator.simulation.invariants.epochs import MOST_SECONDS_WITHOUT_LEADER, Vacancy

LIMIT = MOST_SECONDS_WITHOUT_LEADER


def told(vacancy: Vacancy, now: float, able: str = "", *, is_led: bool = False) -> list[Violation]:
    return list(vacancy.judged(7, now, is_led=is_led, able=able.split()))


def test_who_could_lead_and_does_not_is_told_when_the_time_is_up() -> None:
    vacancy = Vacancy()
    assert not told(vacancy, 10.0, "c1 c2")
    assert not told(vacancy, 10.0 + LIMIT, "c1 c2")
    (wrong,) = told(vacancy, 10.5 + LIMIT, "c1 c2")
    assert (wrong.key, wrong.says) == ("c1", "nobody leads for 7.5 s, though it could")


def test_time_counts_from_when_the_place_is_free() -> None:
    vacancy = Vacancy()
    assert not told(vacancy, 0.0, "c1", is_led=True)
    assert not told(vacancy, 100.0, "c1")
    assert not told(vacancy, 100.0 + LIMIT, "c1", is_led=True)
    assert not told(vacancy, 101.0 + LIMIT, "c1")


def test_time_counts_from_when_the_first_of_them_could_lead() -> None:
    vacancy = Vacancy()
    assert not told(vacancy, 0.0)
    assert not told(vacancy, 100.0, "c2")
    assert not told(vacancy, 99.0 + LIMIT, "c1 c2")
    (wrong,) = told(vacancy, 101.0 + LIMIT, "c1 c2")
    assert wrong.key == "c2"


def test_who_had_troubles_meanwhile_begins_anew() -> None:
    vacancy = Vacancy()
    assert not told(vacancy, 0.0, "c1 c2")
    assert not told(vacancy, 5.0, "c2")
    assert not told(vacancy, 6.0, "c1")
    assert not told(vacancy, 6.0 + LIMIT, "c1")
    assert told(vacancy, 6.5 + LIMIT, "c1")
