"""The engine decides as a slow, obvious reference does: on thousands of small clusters, decision
by decision. And whatever it decides: nothing is broken, nothing depends on chance.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.protocol import AssignNode, Scheduler, Shape, in_turn
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.snapshot import Claim, Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.broken_constraints import broken_constraints
from tests.support.random_clusters import Case, random_case
from tests.support.reference_scheduler import Claims, ReferenceCluster, ReferenceScheduler

ROOT = Path(__file__).parents[2]
FEW = range(100)

# By blocks of cases, so that they are shared out to several processes.
QUICK = [range(at, at + 150) for at in range(0, 600, 150)]
MANY = [range(at, at + 1000) for at in range(1000, 5_000, 1000)]
BLOCKS = [
    *(pytest.param(cases, id=f"{cases.start}") for cases in QUICK),
    *(pytest.param(cases, id=f"{cases.start}", marks=pytest.mark.slow) for cases in MANY),
]
SCHEDULERS = [
    pytest.param(VectorScheduler(), id="vector"),
    pytest.param(SimpleScheduler(), id="simple"),
]


@pytest.mark.parametrize("cases", BLOCKS)
def test_every_decision_is_that_of_the_reference(cases: Iterable[int]) -> None:
    for seed in cases:
        case = random_case(seed)
        expected = ReferenceScheduler(case.strategy).schedule(
            case.requests, case.nodes, case.claims
        )
        assert chosen(VectorScheduler(case.strategy), case) == expected, f"case {seed}"


def test_there_is_much_to_decide() -> None:
    """Else the other tests would show little: many are placed, many are not, nodes fill up."""
    found = [node for seed in FEW for node in chosen(VectorScheduler(), random_case(seed))]
    placed = sum(1 for node in found if node is not None)
    assert 0.3 < placed / len(found) < 0.7


class Quota:
    """A filter: no node takes more than a few at all. What a batch adds, it does not see."""

    name = "quota"
    most = 2

    def passes(self, snapshot: Snapshot, _shape: Shape) -> Mask:
        mask: Mask = snapshot.held <= self.most
        return mask

    def of_claims(self, claims: Claims, _shape: Shape) -> dict[str, int]:
        return {node: 1 for node, held in claims.items() if len(held) <= self.most}


class Gathering:
    """A score: the more there are on a node, the better, up to a point where it gets worse."""

    name = "gathering"

    def points(self, snapshot: Snapshot, _shape: Shape) -> Column:
        return np.array([self._points(held) for held in snapshot.held.tolist()], dtype=np.int64)

    def of_claims(self, claims: Claims, _shape: Shape) -> dict[str, int]:
        return {node: self._points(len(held)) for node, held in claims.items()}

    def _points(self, held: int) -> int:
        return 30 * held if held < 3 else 0


def test_plug_ins_have_their_say_once_for_each_batch() -> None:
    quota, gathering = Quota(), Gathering()
    engine = VectorScheduler(filters=(quota,), scores=(gathering,))
    reference = ReferenceScheduler(filters=(quota.of_claims,), scores=(gathering.of_claims,))
    for seed in FEW:
        case = random_case(seed)
        expected = reference.schedule(case.requests, case.nodes, case.claims)
        assert chosen(engine, case) == expected, f"case {seed}"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_hard_constraint_is_broken(scheduler: Scheduler) -> None:
    for seed in FEW:
        case = random_case(seed)
        assert broken_constraints(case, chosen(scheduler, case)) == [], f"case {seed}"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_gets_a_node_that_fits_by_then_if_there_is_any(scheduler: Scheduler) -> None:
    for seed in FEW:
        case = random_case(seed)
        found = chosen(scheduler, case)
        cluster = ReferenceCluster(case.nodes, case.claims)
        for at in in_turn(case.requests):
            instance, shape = case.requests[at].instance, case.requests[at].shape
            is_sane = min(shape.quantities.values(), default=0) >= 0
            fitting = {node.name for node in case.nodes if is_sane and cluster.fits(node, shape)}
            node = found[at]
            assert node in fitting if node else not fitting, f"case {seed}: {instance}"
            if node:
                cluster.claims[node].append(Claim(instance, shape))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_order_of_the_input_does_not_show(scheduler: Scheduler) -> None:
    for seed in FEW:
        case = random_case(seed)
        assert _told(scheduler, _shuffled(case, seed)) == _told(scheduler, case), f"case {seed}"


def test_the_seed_of_hashes_does_not_show() -> None:
    assert {_told_by_a_process(hash_seed) for hash_seed in ("1", "2")} == {told(FEW) + "\n"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_snapshot_is_left_as_it_was(scheduler: Scheduler) -> None:
    for seed in FEW:
        case = random_case(seed)
        snapshot = Snapshot.of(case.nodes, case.claims)
        first = scheduler.schedule(case.requests, snapshot)
        assert state(snapshot) == state(Snapshot.of(case.nodes, case.claims)), f"case {seed}"
        assert scheduler.schedule(case.requests, snapshot) == first


def test_claims_come_and_go_and_leave_no_trace() -> None:
    for seed in FEW:
        case, rng = random_case(seed), random.Random(seed)
        snapshot, claims = Snapshot.of(case.nodes, {}), _all_claims(case, rng)
        steps = [(node, claim) for node, held in claims.items() for claim in held]
        rng.shuffle(steps)
        for node, claim in steps:
            snapshot.claim(node, claim)
            if rng.random() < 0.2:
                VectorScheduler().schedule(case.requests, snapshot)
        gone = rng.sample(steps, len(steps) // 2)
        for node, claim in gone:
            snapshot.release(node, claim.instance)
        left = {
            node: [claim for claim in held if (node, claim) not in gone]
            for node, held in claims.items()
        }
        assert state(snapshot) == state(Snapshot.of(case.nodes, left)), f"case {seed}"


def test_what_is_tried_on_a_copy_shows_nowhere_else() -> None:
    for seed in FEW:
        case, rng = random_case(seed), random.Random(seed)
        copies = [Snapshot.of(case.nodes, case.claims)]
        expected = [state(copies[0])]
        for request in case.requests[:8]:
            at = rng.randrange(len(copies))
            copies.append(copies[at].copy())
            expected.append(expected[at])
            trial = rng.randrange(len(copies))
            copies[trial].take(request.shape, [rng.randrange(len(case.nodes))])
            expected[trial] = state(copies[trial])
            assert [state(each) for each in copies] == expected, f"case {seed}"


def test_claims_move_to_other_nodes_as_if_they_had_always_been_there() -> None:
    for seed in FEW:
        case, rng = random_case(seed), random.Random(seed)
        more = [replace(node, name=f"m{node.name}") for node in random_case(seed + 1).nodes]
        nodes = [node for node in [*case.nodes, *more] if rng.random() < 0.7]
        moved = Snapshot.of(case.nodes, case.claims).with_nodes(nodes)
        known = {node.name for node in case.nodes}
        claims = {node: held for node, held in case.claims.items() if node in known}
        assert state(moved) == state(Snapshot.of(nodes, claims)), f"case {seed}"


def chosen(scheduler: Scheduler, case: Case) -> list[str | None]:
    decisions = scheduler.schedule(case.requests, Snapshot.of(case.nodes, case.claims))
    return [each.node if isinstance(each, AssignNode) else None for each in decisions]


def told(cases: Iterable[int]) -> str:
    """All that the engine says, reasons and all."""
    return "\n".join(line for seed in cases for line in _told(VectorScheduler(), random_case(seed)))


def state(snapshot: Snapshot) -> object:
    """All that it counts, as plain values that can be compared."""
    kept = ("facts", "budget", "_owned")
    return {name: _plain(value) for name, value in vars(snapshot).items() if name not in kept}


def _plain(value: object) -> object:
    """A column of zeroes is as good as none."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.any() else []
    if isinstance(value, dict):
        plain = {key: _plain(each) for key, each in value.items()}
        return {key: each for key, each in plain.items() if each != []}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _told(scheduler: Scheduler, case: Case) -> list[str]:
    decisions = scheduler.schedule(case.requests, Snapshot.of(case.nodes, case.claims))
    pairs = zip(case.requests, decisions, strict=True)
    return sorted(f"{request.instance}: {decision}" for request, decision in pairs)


def _told_by_a_process(hash_seed: str) -> str:
    code = f"from {__name__} import FEW, told; print(told(FEW))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _shuffled(case: Case, seed: int) -> Case:
    rng = random.Random(seed)
    nodes, requests = rng.sample(case.nodes, len(case.nodes)), list(case.requests)
    rng.shuffle(requests)
    names = rng.sample(sorted(case.claims), len(case.claims))
    claims = {name: rng.sample(case.claims[name], len(case.claims[name])) for name in names}
    return replace(case, nodes=nodes, requests=requests, claims=claims)


def _all_claims(case: Case, rng: random.Random) -> dict[str, list[Claim]]:
    """Those of the case, and what it requests as if it were there already."""
    names = [node.name for node in case.nodes]
    claims = {name: list(case.claims.get(name, ())) for name in names}
    for request in case.requests:
        claims[rng.choice(names)].append(Claim(request.instance, request.shape))
    return claims
