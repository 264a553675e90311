"""Whatever happens to the rows, in whatever order: what is kept up to date is what one would
work out afresh.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from orchestrator.model.instance import InstanceName
from orchestrator.planning.occupancy import Occupancy
from orchestrator.scheduler.facts import NodeFacts
from orchestrator.scheduler.snapshot import Snapshot
from tests.support.random_clusters import random_case
from tests.support.same_snapshot import differences
from tests.support.troubled_cluster import TroubledCluster

MANY = [range(at, at + 500) for at in range(1_000, 2_000, 500)]
SEEDS = [range(25), *(pytest.param(seeds, marks=pytest.mark.slow) for seeds in MANY)]
STEPS = 40


@pytest.mark.parametrize("seeds", SEEDS)
def test_it_is_what_one_would_work_out_afresh(seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(seed)
        cluster = TroubledCluster(rng)
        kept = Occupancy(cluster.state)
        story: list[str] = []
        for _ in range(STEPS):
            story.append(cluster.step())
            if rng.random() < 0.6:
                found = differences(kept.snapshot(), afresh(cluster))
                assert not found, f"seed {seed}: {found} after {story}"
            elif rng.random() < 0.1:
                copy = cluster.state.copy()
                found = differences(kept.fork(copy).snapshot(), Occupancy(copy).snapshot())
                assert not found, f"seed {seed}: a fork, {found} after {story}"


def afresh(cluster: TroubledCluster) -> Snapshot:
    occupancy = Occupancy(cluster.state)
    try:
        return occupancy.snapshot()
    finally:
        occupancy.close()


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_snapshot_with_other_nodes_is_one_made_of_those(seeds: range) -> None:
    for seed in seeds:
        case = random_case(seed)
        snapshot = Snapshot.of(case.nodes, case.claims)
        before = claims_of(snapshot)
        nodes = other_nodes(random.Random(seed), case.nodes, random_case(seed + 10**6).nodes)
        made = snapshot.with_nodes(nodes)
        known = {node.name for node in case.nodes}
        kept = {node: held for node, held in case.claims.items() if node in known}
        found = differences(made, Snapshot.of(nodes, kept))
        assert not found, f"seed {seed}: {found}"
        for node, held in claims_of(made).items():
            for instance in held:
                made.release(node, instance)
        assert claims_of(snapshot) == before


def other_nodes(
    rng: random.Random, nodes: list[NodeFacts], others: list[NodeFacts]
) -> list[NodeFacts]:
    """Some of them, some with other facts, and some more."""
    by_name = {node.name: node for node in nodes if rng.random() < 0.8}
    for node in others:
        if rng.random() < 0.3:
            gpus = rng.choice(((), (), ("T4",)))
            by_name[node.name] = replace(node, gpus=gpus)
    return list(by_name.values())


def claims_of(snapshot: Snapshot) -> dict[str, list[InstanceName]]:
    return {
        node: list(held) for node, held in zip(snapshot.facts.names, snapshot.claims, strict=True)
    }
