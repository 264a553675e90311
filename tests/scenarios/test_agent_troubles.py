"""An agent in trouble: with its runtime, with the store at its start, with being stopped."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from orchestrator.agent.home import AgentHome
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from store.memory.meanness import Meanness
from store.values import DeleteOp, Txn

SECONDS = 30
FIRST_PID = 1001


class BrokenRuntime(SimulatedRuntime):
    """Has a bug."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self.tries = 0

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        self.tries += 1
        raise ZeroDivisionError(spec.id)


class MissingRuntime(SimulatedRuntime):
    """Its program comes and goes."""

    missing = ""

    def problem(self) -> str:
        return self.missing


@in_virtual_time
async def test_a_node_is_not_ready_for_as_long_as_its_runtime_is_missing(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.run(web(1))
        runtime = MissingRuntime(world.machines["n1"].host)
        await world.kill_agent("n1")
        world.start_agent("n1", runtime)
        await world.until(lambda: "n1" in world.state.sessions)
        for missing in ("the runtime has disappeared", ""):
            runtime.missing = missing
            await world.until(lambda: world.state.reports["n1"].record.problem == runtime.missing)
            assert len(world.pids("n1")) == 1


@in_virtual_time
async def test_a_bug_in_a_step_is_no_busy_loop_and_takes_no_other_instance_along(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.run(web(2, name="healthy"))
        broken = BrokenRuntime(world.machines["n1"].host)
        await world.kill_agent("n1")
        world.start_agent("n1", broken)
        await world.apply(web(1))
        await asyncio.sleep(SECONDS)
        assert 1 < broken.tries <= SECONDS + 1
        assert len(world.pids("n1")) == 2


@in_virtual_time
async def test_what_has_crashed_with_its_agent_is_replaced_as_soon_as_that_is_back(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.run(web(1))
        await asyncio.sleep(SECONDS)
        await world.kill_agent("n1")
        machine = world.machines["n1"]
        machine.host.crash("default.web.0.1.app")
        world.start_agent("n1")
        await world.until(lambda: "default.web.0.2.app" in machine.host.containers, within=2.0)


@in_virtual_time
async def test_whoever_has_started_anything_knows_for_whom(tmp_path: Path) -> None:
    """Else a wiped store would pass for the first one ever seen, and what runs be stopped."""
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.apply(web(1))
        machine = world.machines["n1"]
        while not machine.host.containers:
            await asyncio.sleep(0.001)
        await world.kill_agent("n1")
        with AgentHome(machine.path, random.Random(1)) as home:
            assert home.identity.store_id


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


@in_virtual_time
async def test_what_is_withdrawn_before_the_watch_tells_of_it_is_not_started(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.until(lambda: "n1" in world.state.sessions)
        world.store.treat(Meanness(watch_seconds=(5.0, 5.0)), "n1")
        await world.apply(web(2))
        await world.until(lambda: len(world.wanted()) == 2)
        await world.apply(web(1))
        await world.until(lambda: len(world.wanted()) == 1)
        await world.until(world.runs(1))
        await asyncio.sleep(SECONDS)
        assert list(world.pids("n1").values()) == [FIRST_PID]


@in_virtual_time
async def test_what_the_store_has_forgotten_is_said_again_by_the_next_life(tmp_path: Path) -> None:
    """As when the store was put back to before the instance ran."""
    world = World(tmp_path)
    async with world.running(nodes=1):
        await world.run(web(1))
        before = world.pids("n1")
        await world.kill_agent("n1")
        (place,) = world.wanted()
        delete = DeleteOp(world.keys.observation(place))
        await world.store.connect("people").txn(Txn(success=(delete,)))
        world.start_agent("n1")
        await world.until(world.runs(1))
        assert world.pids("n1") == before
