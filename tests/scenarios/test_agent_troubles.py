"""An agent in trouble: with its runtime, with the store at its start, with being stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time
from tests.support.world import World

SECONDS = 30


class BrokenRuntime(SimulatedRuntime):
    """Has a bug."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self.tries = 0

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        self.tries += 1
        raise ZeroDivisionError(spec.id)


@in_virtual_time
async def test_a_bug_in_a_step_is_no_busy_loop_and_takes_no_other_instance_along(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.apply(web(2, name="healthy"))
        await world.until(world.runs(2))
        broken = BrokenRuntime(world.machines["n1"].host)
        await world.kill_agent("n1")
        world.start_agent("n1", broken)
        await world.apply(web(1))
        await asyncio.sleep(SECONDS)
        assert 1 < broken.tries <= SECONDS + 1
        assert len(world.pids("n1")) == 2


@in_virtual_time
async def test_an_agent_that_waits_for_the_store_at_its_start_can_be_stopped(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.until(lambda: "n1" in world.state.sessions)
        await world.kill_agent("n1")
        world.store.cut("n1")
        world.start_agent("n1")
        await asyncio.sleep(SECONDS)
        machine = world.machines["n1"]
        machine.stop.set()
        assert machine.life
        await asyncio.wait_for(machine.life, timeout=1.0)


@in_virtual_time
async def test_an_agent_that_ends_in_the_middle_of_a_start_goes_no_further(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        machine = world.machines["n1"]
        machine.host.program("serve", Program(start_seconds=5.0))
        await world.apply(web(1))
        await world.until(lambda: bool(machine.host.containers))
        before = asyncio.all_tasks()
        await world.kill_agent("n1")
        await asyncio.sleep(0)
        left = [each for each in before & asyncio.all_tasks() if "_carry_out" in repr(each)]
        assert left == []
        world.start_agent("n1")
        await world.until(world.runs(1))
        assert len(machine.host.containers) == 1
