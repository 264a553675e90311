"""Choosing a member, and not believing one that answers from the past."""

from __future__ import annotations

import random

import pytest

from store.errors import Invalid, StoreReplaced, Unavailable
from store.etcd.endpoints import (
    SHUN_SECONDS,
    VERDICT_SECONDS,
    Chooser,
    Endpoint,
    HistoryGuard,
    parse_endpoint,
)
from store.lineage import Mark
from store.values import Header

NAMES = ("a:1", "b:1", "c:1")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def header(revision: int, *, raft_term: int = 2, cluster_id: int = 7) -> Header:
    return Header(cluster_id, member_id=1, revision=revision, raft_term=raft_term)


def chooser(clock: Clock, *names: str, seed: int = 1) -> Chooser:
    return Chooser(names or NAMES, clock, random.Random(seed))


@pytest.mark.parametrize(
    ("text", "has_tls", "target"),
    [
        ("127.0.0.1:2379", False, "127.0.0.1:2379"),
        ("127.0.0.1:2379", True, "127.0.0.1:2379"),
        ("http://etcd-1:2379", False, "etcd-1:2379"),
        ("https://etcd-1:2379/", True, "etcd-1:2379"),
        ("https://[::1]:2379", True, "[::1]:2379"),
        ("HTTPS://etcd-1:2379", True, "etcd-1:2379"),
    ],
)
def test_endpoints_are_parsed(text: str, has_tls: bool, target: str) -> None:
    assert parse_endpoint(text, has_tls=has_tls) == Endpoint(text, target, has_tls)


@pytest.mark.parametrize(
    ("text", "has_tls", "advice"),
    [
        ("etcd-1", False, "write host:port"),
        (":2379", False, "write host:port"),
        ("etcd-1:port", False, "write host:port"),
        ("etcd-1:99999", False, "write host:port"),
        ("unix:///etcd.sock", False, "write host:port"),
        ("", False, "write host:port"),
        ("http://user:secret@etcd-1:2379", False, "write host:port"),
        ("http://etcd-1:2379/v3", False, "write host:port"),
        ("::1:2379", False, "write host:port"),
        ("etcd-1:0", False, "write host:port"),
        ("etcd-1:\u0663", False, "write host:port"),
        ("https://etcd-1:2379", False, "say which CA to trust"),
        ("http://etcd-1:2379", True, "write https://"),
    ],
)
def test_a_bad_endpoint_is_refused_with_advice(text: str, has_tls: bool, advice: str) -> None:
    with pytest.raises(Invalid, match=advice):
        parse_endpoint(text, has_tls=has_tls)


def test_no_endpoints_are_refused() -> None:
    with pytest.raises(Invalid, match="at least one"):
        Chooser((), Clock(), random.Random(1))


def test_it_stays_with_a_member_that_answers() -> None:
    choice = chooser(Clock())
    first = choice.current
    choice.answered(first)
    assert choice.current == first


def test_clients_begin_with_different_members() -> None:
    assert {chooser(Clock(), seed=seed).current for seed in range(20)} == set(NAMES)


def test_it_moves_on_from_a_member_that_fails() -> None:
    choice = chooser(Clock())
    failed = choice.current
    choice.failed(failed)
    assert choice.current != failed


def test_the_clients_of_a_dead_member_do_not_all_move_to_the_same_one() -> None:
    moved_to = set()
    for seed in range(20):
        choice = chooser(Clock(), seed=seed)
        while choice.current != "a:1":
            choice.failed(choice.current)
        choice.answered("b:1")
        choice.answered("c:1")
        choice.failed("a:1")
        moved_to.add(choice.current)
    assert moved_to == {"b:1", "c:1"}


def test_many_calls_that_fail_together_move_it_once() -> None:
    choice = chooser(Clock())
    failed = choice.current
    choice.failed(failed)
    moved_to = choice.current
    choice.failed(failed)
    assert choice.current == moved_to


def test_a_member_that_failed_lately_is_tried_last() -> None:
    clock = Clock()
    choice = chooser(clock)
    seen = []
    for _ in range(6):
        seen.append(choice.current)
        clock.now += 1.0
        choice.failed(choice.current)
    assert set(seen[:3]) == set(NAMES), "each is tried before any is tried again"
    assert seen[3:] == seen[:3], "then the one whose failure is the longest ago"


def test_a_failure_is_forgotten_after_a_while() -> None:
    clock = Clock()
    choice = chooser(clock, "a:1", "b:1")
    first = choice.current
    choice.failed(first)
    clock.now += SHUN_SECONDS
    choice.failed(choice.current)
    assert choice.current == first


def test_an_only_member_is_kept_whatever_happens() -> None:
    choice = chooser(Clock(), "a:1")
    choice.failed("a:1")
    assert choice.current == "a:1"


def test_an_answer_that_goes_on_is_believed() -> None:
    guard = HistoryGuard(Clock())
    guard.check("a:1", header(10), Mark())
    guard.check("b:1", header(10), guard.mark)
    guard.check("c:1", header(12, raft_term=3), guard.mark)
    assert guard.mark == Mark(12, 3)
    assert guard.stale_answers == 0


@pytest.mark.parametrize("stale", [header(9), header(10, raft_term=1)])
def test_an_answer_from_the_past_is_refused_and_counted(stale: Header) -> None:
    guard = HistoryGuard(Clock())
    guard.check("a:1", header(10), Mark())
    with pytest.raises(Unavailable, match="b:1 answers at revision"):
        guard.check("b:1", stale, guard.mark)
    assert guard.stale_answers == 1
    assert guard.mark == Mark(10, 2)


def test_answers_that_overtake_each_other_are_believed() -> None:
    guard = HistoryGuard(Clock())
    asked = guard.mark
    guard.check("a:1", header(10), asked)
    guard.check("a:1", header(9), asked)
    assert guard.mark.revision == 10


def test_a_watch_teaches_revisions_but_no_terms() -> None:
    guard = HistoryGuard(Clock())
    guard.learn("a:1", header(10, raft_term=9))
    assert guard.mark == Mark(10, 0)
    with pytest.raises(Unavailable):
        guard.check("b:1", header(9), guard.mark)


def test_everybody_in_the_past_for_long_is_another_store() -> None:
    clock = Clock()
    guard = HistoryGuard(clock)
    guard.check("a:1", header(10), Mark())
    for name in ("b:1", "c:1"):
        with pytest.raises(Unavailable):
            guard.check(name, header(1), guard.mark)
    clock.now += VERDICT_SECONDS
    for _ in range(2):
        with pytest.raises(StoreReplaced, match="wiped or restored"):
            guard.check("a:1", header(2), guard.mark)


def test_one_good_answer_acquits_the_store() -> None:
    clock = Clock()
    guard = HistoryGuard(clock)
    guard.check("a:1", header(10), Mark())
    for _ in range(5):
        with pytest.raises(Unavailable):
            guard.check("b:1", header(1), guard.mark)
        clock.now += VERDICT_SECONDS
        guard.check("a:1", header(10), guard.mark)


def test_a_term_that_only_one_member_ever_had_is_forgotten() -> None:
    clock = Clock()
    guard = HistoryGuard(clock)
    guard.check("a:1", header(10, raft_term=50), Mark())
    for _ in range(2):
        with pytest.raises(Unavailable):
            guard.check("b:1", header(11), guard.mark)
    clock.now += VERDICT_SECONDS
    guard.check("b:1", header(11), guard.mark)
    guard.check("c:1", header(11), guard.mark)
    assert guard.mark == Mark(11, 2)


def test_another_cluster_is_named() -> None:
    guard = HistoryGuard(Clock())
    guard.learn("a:1", header(10))
    with pytest.raises(StoreReplaced, match="b:1 belongs to etcd cluster 8, not 7"):
        guard.learn("b:1", header(10, cluster_id=8))
