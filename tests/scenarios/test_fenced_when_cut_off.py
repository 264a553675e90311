"""What must not go on without its store: `on_node_lost: fence`, in virtual time, is stopped by its
node before it is replaced elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.model.instance import ExitCause
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.runtime.protocol import ContainerState
from orchestrator.runtime.simulated_host import Program
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.simulation.world import World
from tests.scenarios.cutting import container, cut_all, observed, pids, resume_all, runs

HOURS = 3 * 3600.0
FENCE_AFTER = 20.0


def fenced(replicas: int) -> WorkloadDefinition:
    return web(
        replicas,
        on_node_lost=OnNodeLost.FENCE,
        lost_after_seconds=FENCE_AFTER,
        stop_grace_seconds=5.0,
    )


async def with_fenced(world: World, replicas: int = 3) -> InstancePlace:
    await world.apply(fenced(replicas))
    await world.until(world.runs(replicas))
    await world.until(
        lambda: all(each.record.has_watchdog for each in world.state.reports.values())
    )
    return world.wanted()[0]


@in_virtual_time
async def test_a_node_that_is_cut_off_stops_it_before_it_is_replaced(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        place = await with_fenced(world)
        world.store.cut(place.node)
        cut_at = virtual_now()
        await world.until(lambda: not runs(world, place))
        assert virtual_now() - cut_at > FENCE_AFTER
        assert world.names() == ["0.1", "1.1", "2.1"]
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])
        await world.until(world.runs(3))
        world.store.resume(place.node)
        await world.until(lambda: len(world.state.assignments) == 3)
        assert not runs(world, place)


@in_virtual_time
async def test_a_dead_agents_watchdog_stops_it_all_the_same(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        place = await with_fenced(world)
        world.machines[place.node].host.program("serve", Program(ignores_sigterm=True))
        await world.kill_agent(place.node)
        await world.until(lambda: not runs(world, place))
        assert world.names() == ["0.1", "1.1", "2.1"]
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])


@in_virtual_time
async def test_an_agent_that_comes_back_in_time_keeps_it(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        place = await with_fenced(world)
        before = pids(world)
        for _ in range(4):
            await world.kill_agent(place.node)
            await asyncio.sleep(FENCE_AFTER - 2)
            world.start_agent(place.node)
            await world.until(lambda: place.node in world.state.sessions)
            await world.until(world.runs(3))
        assert pids(world) == before


@in_virtual_time
async def test_one_that_crashes_is_restarted_while_there_is_time_and_not_after(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        place = await with_fenced(world)
        world.store.cut(place.node)
        await asyncio.sleep(15)
        world.machines[place.node].host.crash(f"{place.instance}.app", 1)
        await world.until(lambda: runs(world, place), within=3.0)
        await world.until(lambda: not runs(world, place))
        await world.kill_agent(place.node)
        world.store.cut(place.node)
        world.start_agent(place.node)
        await asyncio.sleep(300)
        assert not runs(world, place)


@in_virtual_time
async def test_when_etcd_is_away_for_long_it_stops_and_begins_anew_afterwards(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        place = await with_fenced(world)
        cut_all(world)
        await asyncio.sleep(300)
        assert not any(runs(world, each) for each in world.wanted())
        resume_all(world)
        await world.until(lambda: world.names() == ["0.2", "1.2", "2.2"])
        await world.until(world.runs(3))
        assert world.state.assignments[world.wanted()[0]].record.failures == 0
        assert place not in world.wanted()


@in_virtual_time
async def test_others_on_the_same_node_are_not_touched(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3, name="patient", on_node_lost=OnNodeLost.WAIT))
        patient = [container(world, each) for each in world.wanted()]
        await world.apply(fenced(3))
        await world.until(world.runs(6))
        cut_all(world)
        await asyncio.sleep(HOURS)
        assert all(each.status.state is ContainerState.RUNNING for each in patient)


@in_virtual_time
async def test_the_nodes_stop_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        place = await with_fenced(world, 1)
        for name in list(world.controllers):
            await world.kill_controller(name)
        world.store.cut("n1")
        await asyncio.sleep(120)
        world.store.resume("n1")
        await world.until(lambda: observed(world, place).status.is_finished)
        told = observed(world, place)
        assert told.cause is ExitCause.FENCED
        assert told.reason == (
            "its node was cut off for 20 s and has stopped it: on_node_lost is `fence`"
        )
