"""People with etcdctl: whatever row they delete or spoil, nothing runs twice and all heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.records import dump
from orchestrator.model.workload import ContainerConfig, DesiredWorkload
from orchestrator.runtime.simulated_host import Program
from orchestrator.simulation.faulty_world import FaultyWorld
from orchestrator.simulation.judge import SPOILT
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from store.values import DeleteOp, PutOp, Txn
from tests.scenarios.cutting import pids

KEY = web().key
PATIENCE_SECONDS = 30.0
ANYTHING = ""


@asynccontextmanager
async def running(path: Path, replicas: int = 3) -> AsyncIterator[FaultyWorld]:
    """Whatever is done in the meantime, it comes to peace, and nothing has run twice."""
    world = FaultyWorld(path, seed=1, allowed=ANYTHING)
    async with world.running():
        supervising = asyncio.create_task(world.supervise())
        await world.want(web(replicas))
        await world.until(world.runs(replicas))
        yield world
        await world.settle()
        supervising.cancel()
    assert not world.judge.findings, world.judge.findings[0]


async def delete(world: FaultyWorld, key: str) -> None:
    await world.store.connect("people").txn(Txn(success=(DeleteOp(key),)))


async def spoil(world: FaultyWorld, key: str) -> None:
    await world.store.connect("people").txn(Txn(success=(PutOp(key, SPOILT),)))


async def edit(world: FaultyWorld, desired: DesiredWorkload) -> None:
    put = PutOp(world.keys.workload(desired.spec.key), dump(desired))
    await world.store.connect("people").txn(Txn(success=(put,)))


def epoch_of(world: FaultyWorld) -> int:
    return world.state.leader.create_revision if world.state.leader else 0


def first(world: FaultyWorld) -> InstancePlace:
    return world.wanted()[0]


@in_virtual_time
async def test_an_assignment_deleted_while_it_runs_is_stopped_then_its_slot_is_filled_anew(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as world:
        await delete(world, world.keys.assignment(first(world)))
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])


@in_virtual_time
async def test_an_assignment_deleted_while_nobody_leads_gives_its_name_to_nobody(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as world:
        for name in list(world.controllers):
            await world.kill_controller(name)
        place = first(world)
        await world.kill_agent(place.node)
        await delete(world, world.keys.assignment(place))
        world.start_controller("c1")
        await asyncio.sleep(5)
        world.start_agent(place.node)
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])


@in_virtual_time
async def test_a_spoilt_assignment_stops_nothing_even_if_agent_and_leader_begin_anew(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as world:
        before, place = pids(world), first(world)
        await spoil(world, world.keys.assignment(place))
        await world.kill_agent(place.node)
        world.start_agent(place.node)
        await world.stop_controller(world.leader)
        for name in list(world.controllers):
            await world.kill_controller(name)
        for name in ("c1", "c2", "c3"):
            world.start_controller(name)
        await asyncio.sleep(2 * PATIENCE_SECONDS)
        assert pids(world) == before
        await delete(world, world.keys.assignment(place))


@in_virtual_time
async def test_a_deleted_observation_is_reported_again(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        before = pids(world)
        await delete(world, world.keys.observation(first(world)))
        await world.until(lambda: first(world) not in world.state.observations)
        await world.until(lambda: first(world) in world.state.observations)
        assert pids(world) == before


@in_virtual_time
async def test_a_deleted_session_is_registered_again_before_the_node_is_given_up(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as world:
        before = pids(world)
        await delete(world, world.keys.session("n1"))
        await world.until(lambda: "n1" not in world.state.sessions)
        await world.until(lambda: "n1" in world.state.sessions, within=PATIENCE_SECONDS)
        await asyncio.sleep(PATIENCE_SECONDS)
        assert pids(world) == before


@in_virtual_time
async def test_a_deleted_leader_is_followed_by_another(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        before = pids(world)
        epoch = epoch_of(world)
        await delete(world, world.keys.leader)
        await world.until(lambda: epoch_of(world) > epoch)
        await world.want(web(4))
        await world.until(world.runs(4))
        assert all(before[node].items() <= now.items() for node, now in pids(world).items())


@in_virtual_time
async def test_a_deleted_or_spoilt_status_is_written_again(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        key = world.keys.workload_status(KEY)
        revision = world.state.statuses[KEY].create_revision
        await delete(world, key)
        await world.until(
            lambda: (
                KEY in world.state.statuses and world.state.statuses[KEY].create_revision > revision
            )
        )
        await spoil(world, key)
        await world.until(lambda: key in world.state.damaged)
        await world.want(web(4))
        await world.until(lambda: key not in world.state.damaged)


@in_virtual_time
async def test_a_missing_template_fails_what_needs_it_and_applying_again_heals(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as world:
        before = pids(world)
        await delete(world, world.keys.revision(KEY, 1))
        await world.until(lambda: not world.state.templates)
        await edit(world, replace(world.state.workloads[KEY].record, spec=web(4)))
        await asyncio.sleep(PATIENCE_SECONDS)
        assert pids(world) == before
        await world.want(web(4, stop_grace_seconds=5.0))
        await world.until(world.runs(4), within=120.0)


@in_virtual_time
async def test_a_later_life_of_a_workload_is_never_made_of_an_earlier_ones_template(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, replicas=0) as world:
        for machine in world.machines.values():
            machine.host.program("serve", Program(ignores_sigterm=True))
        await world.want(web(1, stop_grace_seconds=2.0))
        await world.until(world.runs(1))
        place = first(world)
        node = place.node
        await world.unwant(KEY)
        terminating = WorkloadInstanceStatus.TERMINATING
        await world.until(lambda: world.state.observations[place].record.status is terminating)
        world.store.pause(node)
        await world.until(lambda: KEY not in world.state.statuses)
        other = ContainerConfig("app", command=("serve", "--otherwise"))
        await world.want(web(3, containers=(other,)))
        await world.until(lambda: len(world.state.assignments) == 3)
        world.store.resume(node)
        await world.until(world.runs(3))
        place = next(each for each in world.wanted() if each.node == node)
        container = world.machines[node].host.containers[f"{place.instance}.app"]
        assert container.status.spec.argv == ("serve", "--otherwise")
