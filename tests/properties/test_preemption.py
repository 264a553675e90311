"""Who gives way is decided exactly as by trying every set of instances on every node."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import PriorityClass
from orchestrator.model.workload import WorkloadKey
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.protocol import (
    AssignNode,
    ScheduleDecision,
    ScheduleRequest,
    Shape,
    in_turn,
)
from orchestrator.scheduler.snapshot import Claim, Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.reference_preemption import (
    CrowdedCase,
    Decision,
    ReferenceDisplacer,
    crowded_case,
)

QUICK = [range(300)]
MANY = [range(at, at + 2_000) for at in range(1_000, 5_000, 2_000)]
BLOCKS = [
    *(pytest.param(cases, id=f"{cases.start}") for cases in QUICK),
    *(pytest.param(cases, id=f"{cases.start}", marks=pytest.mark.slow) for cases in MANY),
]


def decided(case: CrowdedCase) -> dict[InstanceName, ScheduleDecision]:
    """By instance, in the order in which they are served."""
    snapshot = Snapshot.of(case.nodes, case.claims)
    snapshot.budget = case.budgets.get
    made = VectorScheduler().schedule(case.requests, snapshot)
    return {case.requests[at].instance: made[at] for at in in_turn(case.requests)}


def told(decisions: Iterable[ScheduleDecision]) -> list[Decision]:
    return [
        (each.node, frozenset(victim.instance for victim in each.victims))
        if isinstance(each, AssignNode)
        else None
        for each in decisions
    ]


@pytest.mark.parametrize("cases", BLOCKS)
def test_it_is_the_best_of_all_sets_on_all_nodes(cases: range) -> None:
    for seed in cases:
        case = crowded_case(seed)
        made = decided(case)
        claims = {node: list(held) for node, held in case.claims.items()}
        reference = ReferenceDisplacer(case.nodes, claims, case.budgets, made)
        assert told(made.values()) == reference.decide(case.requests), f"case {seed}"


def test_there_is_much_to_decide() -> None:
    """Else the other test would show little."""
    kinds = Counter(
        "none" if each is None else len(each[1])
        for seed in range(300)
        for each in told(decided(crowded_case(seed)).values())
    )
    assert all(kinds[kind] >= 8 for kind in ("none", 0, 1, 2)), kinds


@pytest.mark.parametrize("cases", [range(12), pytest.param(range(400), marks=pytest.mark.slow)])
def test_where_there_are_too_many_sets_nobody_goes_in_vain(cases: range) -> None:
    """Of what is found without comparing all, no one could be left where he is."""
    for seed in cases:
        rng = random.Random(seed)
        held = [lopsided(rng, f"w{at}") for at in range(rng.randint(14, 20))]
        sums = {
            name: sum(each.shape.quantities[name] for each in held)
            for name in ("cpu_cores", "memory_mb")
        }
        wanted = Shape(
            WorkloadKey("default", "new"),
            quantities={name: rng.randint(amount // 3, amount) for name, amount in sums.items()},
        )
        request = ScheduleRequest(InstanceName("default", "new", 0, 1), wanted)
        snapshot = Snapshot.of([NodeFacts("n1", sums)], {"n1": held})
        made = VectorScheduler().schedule([request], snapshot)[0]
        assert isinstance(made, AssignNode)
        gone = {victim.instance for victim in made.victims}
        assert fits_without(held, wanted, gone)
        assert not any(fits_without(held, wanted, gone - {each}) for each in gone)


def lopsided(rng: random.Random, name: str) -> Claim:
    """Who has much of one thing has little of the other: so it takes many sets to find one."""
    cpu = rng.randint(1, 999)
    shape = Shape(
        WorkloadKey("default", name),
        quantities={"cpu_cores": cpu, "memory_mb": 1000 - cpu},
        priority=rng.choice((PriorityClass.BACKGROUND, PriorityClass.LOW)),
    )
    return Claim(InstanceName("default", name, 0, 1), shape)


def fits_without(held: list[Claim], wanted: Shape, gone: set[InstanceName]) -> bool:
    """All of the node is in use: so those who go must hold all that is asked for."""
    return all(
        amount <= sum(each.shape.quantities[name] for each in held if each.instance in gone)
        for name, amount in wanted.quantities.items()
    )
