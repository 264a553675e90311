"""The checkers are tried: builds without a safeguard must be caught, by the seeds kept here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.workload import OnNodeLost
from orchestrator.simulation.faulty_world import FaultyWorld
from orchestrator.simulation.judge import Finding
from orchestrator.simulation.samples import web
from orchestrator.simulation.scenario import Setup, simulate
from orchestrator.simulation.virtual_time import run_in_virtual_time
from tests.simulation.mutations import (
    Mutation,
    adoption_by_name,
    fragments_apart,
    leader_guard_off,
    object_guard_off,
    repeats_believed,
    watchdog_off,
)

NODES = 8
LOST_AFTER_SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """`seed` breaks `promise` without the safeguard."""

    mutation: Mutation
    seed: int
    promise: str

    def __str__(self) -> str:
        return f"{getattr(self.mutation, '__name__', '')}-{self.seed}"


CASES = (
    Case(object_guard_off, 0, "I2 no blind overwrite"),
    Case(fragments_apart, 0, "I7 cache = store"),
    Case(repeats_believed, 0, "I7 cache = store"),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_build_without_a_safeguard_is_caught(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.mutation(monkeypatch)
    verdict = simulate(Setup(case.seed, nodes=NODES))
    assert case.promise in {each.promise for each in verdict.findings}
    assert verdict.setup.command in verdict.story()
    assert verdict.context


async def two_leaders(path: Path) -> list[Finding]:
    """A leader is frozen between plan and transaction, and goes on when its successor, frozen
    in turn as soon as it is elected, has not written anything yet."""
    world = FaultyWorld(path, seed=1)
    async with world.running(nodes=3):
        supervising = asyncio.create_task(world.supervise())
        await world.want(web(2))
        await world.until(world.runs(2))
        for name in world.controllers:
            is_first = name == world.leader
            where, seconds = ("before txn", 15.0) if is_first else ("after txn", 30.0)
            world.pauses.arrange(world.processes[name], where, seconds)
        await world.want(web(3))
        await asyncio.sleep(20.0)
        await world.until(world.runs(3), within=200.0)
        supervising.cancel()
    return world.judge.findings


async def a_name_used_again(path: Path) -> list[Finding]:
    """The store is put back to before a workload, which is then wanted anew, and differs."""
    world = FaultyWorld(path, seed=1)
    async with world.running(nodes=1):
        supervising = asyncio.create_task(world.supervise())
        await world.until(lambda: "n1" in world.state.sessions)
        backup = world.store.backup()
        await world.want(web(1))
        await world.until(world.runs(1))
        await world.kill_agent("n1")
        world.restore(backup)
        await world.want(web(1, stop_grace_seconds=2.0))
        await world.until(lambda: bool(world.wanted()))
        world.start_agent("n1")
        await world.until(world.runs(1), within=200.0)
        await asyncio.sleep(20.0)
        supervising.cancel()
    return world.judge.findings


async def a_silent_node(path: Path) -> list[Finding]:
    """An agent is frozen, with an instance that must never run twice."""
    world = FaultyWorld(path, seed=1)
    async with world.running(nodes=2):
        supervising = asyncio.create_task(world.supervise())
        fenced = web(1, on_node_lost=OnNodeLost.FENCE, lost_after_seconds=LOST_AFTER_SECONDS)
        await world.want(fenced)
        await world.until(world.runs(1))
        await asyncio.sleep(10.0)
        (place,) = world.wanted()
        world.freeze(place.node)
        await world.until(lambda: is_elsewhere(world, place.node), within=300.0)
        await asyncio.sleep(10.0)
        world.thaw(place.node)
        await world.until(world.runs(1), within=200.0)
        supervising.cancel()
    return world.judge.findings


def is_elsewhere(world: FaultyWorld, node: str) -> bool:
    observations = world.state.observations.items()
    return any(
        place.node != node and entry.record.status is WorkloadInstanceStatus.RUNNING
        for place, entry in observations
    )


Directed = Callable[[Path], Coroutine[None, None, list[Finding]]]

DIRECTED: tuple[tuple[Directed, Mutation, str], ...] = (
    (two_leaders, leader_guard_off, "I1 single writer"),
    (a_name_used_again, adoption_by_name, "I5 identity"),
    (a_silent_node, watchdog_off, "I3 at most one"),
)
"""What hardly any seed leads to: which promise is broken there without which safeguard."""


@pytest.mark.parametrize("directed", [each for each, _, _ in DIRECTED])
def test_what_is_led_to_on_purpose_is_survived(directed: Directed, tmp_path: Path) -> None:
    assert run_in_virtual_time(directed(tmp_path)) == []


@pytest.mark.parametrize(("directed", "mutation", "promise"), DIRECTED)
def test_and_is_caught_without_its_safeguard(
    directed: Directed,
    mutation: Mutation,
    promise: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutation(monkeypatch)
    findings = run_in_virtual_time(directed(tmp_path))
    assert promise in {each.promise for each in findings}
