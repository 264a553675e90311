"""Static stability, in virtual time: what runs goes on running, whoever is away, and is restarted
on the spot if it crashes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.model.workload import OnNodeLost, RestartPolicy
from orchestrator.runtime.simulated_host import Program
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.simulation.world import World
from store.memory.meanness import CALM, Meanness
from store.values import PutOp, Txn
from tests.scenarios.cutting import cut_all, observed, pids, resume_all, runs

HOURS = 3 * 3600.0
POLICY = RestartPolicy(backoff_seconds=10.0, max_backoff_seconds=40.0)


@in_virtual_time
async def test_nothing_that_runs_is_touched_by_hours_without_etcd(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(6))
        before = pids(world)
        cut_all(world)
        await asyncio.sleep(HOURS)
        assert pids(world) == before
        resume_all(world)
        await world.until(world.runs(6))
        await asyncio.sleep(120)
        assert pids(world) == before


@in_virtual_time
async def test_nothing_that_runs_is_touched_by_hours_without_controllers(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(6))
        before = pids(world)
        for name in list(world.controllers):
            await world.kill_controller(name)
        await asyncio.sleep(HOURS)
        assert pids(world) == before
        world.start_controller("c1")
        await world.until(lambda: world.leader == "c1")
        await asyncio.sleep(120)
        assert pids(world) == before


@in_virtual_time
async def test_agents_restarted_while_etcd_and_controllers_are_gone_touch_nothing(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(6))
        before = pids(world)
        for name in list(world.controllers):
            await world.kill_controller(name)
        for name in world.machines:
            await world.kill_agent(name)
            world.store.cut(name)
            world.start_agent(name)
        await asyncio.sleep(HOURS)
        assert pids(world) == before
        for name in world.machines:
            world.store.resume(name)
        world.start_controller("c1")
        await world.until(lambda: len(world.state.sessions) == 3)
        await world.until(world.runs(6))
        await asyncio.sleep(120)
        assert pids(world) == before
        assert world.names() == [f"{slot}.1" for slot in range(6)]


@in_virtual_time
async def test_what_crashes_while_its_node_is_cut_off_is_restarted_as_itself(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = world.wanted()[0]
        cut_all(world)
        await asyncio.sleep(60)
        world.machines[place.node].host.crash(f"{place.instance}.app", 3)
        await world.until(lambda: runs(world, place), within=3.0)
        resume_all(world)
        await world.until(lambda: observed(world, place).restarts == 1)
        await world.until(world.runs(3))
        told = observed(world, place)
        assert told.reason == (
            "restarted once while its node was cut off; last: exited with code 3"
        )
        assert [each.exit_code for each in told.exits] == [3]
        assert world.names() == ["0.1", "1.1", "2.1"]


@in_virtual_time
async def test_the_back_off_outlives_the_agent(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(1, restart=POLICY))
        (place,) = world.wanted()
        host = world.machines["n1"].host
        cut_all(world)
        await asyncio.sleep(60)
        host.program("serve", Program(runs_seconds=0.5, exit_code=1))
        host.crash(f"{place.instance}.app", 1)
        waits = []
        for _ in range(5):
            await world.until(lambda: not runs(world, place))
            ended = virtual_now()
            await world.kill_agent("n1")
            world.store.cut("n1")
            world.start_agent("n1")
            await world.until(lambda: runs(world, place))
            waits.append(virtual_now() - ended)
        assert waits[1:] == sorted(waits[1:])
        assert 9.0 < waits[1] < 16.0
        assert 39.0 < waits[4] < 46.0
        host.program("serve", Program())
        resume_all(world)
        await world.until(world.runs(1), within=120)


@in_virtual_time
async def test_a_crash_that_nobody_heard_of_is_made_good_all_the_same(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = world.wanted()[0]
        everybody = [*world.machines, *world.controllers]
        world.store.treat(Meanness(refused=1.0), *everybody)  # the session is trusted yet
        world.machines[place.node].host.crash(f"{place.instance}.app", 3)
        await asyncio.sleep(1)
        await world.until(lambda: runs(world, place))
        world.store.treat(CALM, *everybody)
        world.restart_what_ended()
        await world.until(lambda: observed(world, place).restarts == 1)
        await world.until(world.runs(3))
        assert world.names() == ["0.1", "1.1", "2.1"]


@in_virtual_time
async def test_what_the_leader_has_been_told_of_is_not_restarted_by_its_node(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = world.wanted()[0]
        for name in list(world.controllers):
            await world.kill_controller(name)
        world.machines[place.node].host.crash(f"{place.instance}.app", 3)
        await world.until(lambda: observed(world, place).status.is_finished)
        world.store.cut(place.node)
        await world.kill_agent(place.node)
        world.store.cut(place.node)
        world.start_agent(place.node)
        await asyncio.sleep(300)
        assert not runs(world, place)


@in_virtual_time
async def test_nothing_new_is_started_without_the_store(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        for name in world.machines:
            world.store.cut(name)
        await world.apply(web(9))
        await asyncio.sleep(25)
        assert sum(len(each) for each in pids(world).values()) == 3


@in_virtual_time
async def test_a_machine_that_boots_without_the_store_starts_what_ran_on_it(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(2))
        await world.kill_agent("n1")
        cut_all(world)
        world.machines["n1"].host.reboot()
        world.start_agent("n1")
        await world.until(lambda: all(runs(world, each) for each in world.wanted()))
        resume_all(world)
        await world.until(world.runs(2))
        assert world.names() == ["0.1", "1.1"]


@in_virtual_time
async def test_what_must_not_run_twice_waits_for_the_store_when_its_machine_has_booted(
    tmp_path: Path,
) -> None:
    """People may have seen the machine dead, and given their word that nothing runs there."""
    async with World(tmp_path).running() as world:
        await world.run(web(1, on_node_lost=OnNodeLost.WAIT))
        (old,) = world.wanted()
        await world.kill_agent(old.node)
        world.machines[old.node].host.reboot()
        await world.until(lambda: old.node not in world.state.sessions)
        declared = PutOp(world.keys.desired_node(old.node), b'{"is_declared_lost": true}')
        await world.store.connect("people").txn(Txn(success=(declared,)))
        await world.until(world.runs(1))
        world.store.cut(old.node)
        world.start_agent(old.node)
        await asyncio.sleep(300)
        assert not runs(world, old)
        world.store.resume(old.node)
        await world.until(lambda: old.node in world.state.sessions)
        await asyncio.sleep(60)
        assert world.names() == ["0.2"]
        assert not runs(world, old)


@in_virtual_time
async def test_what_must_not_run_twice_is_restarted_by_an_agent_that_was_in_touch(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(1, on_node_lost=OnNodeLost.WAIT))
        (place,) = world.wanted()
        cut_all(world)
        await asyncio.sleep(60)
        world.machines[place.node].host.crash(f"{place.instance}.app", 3)
        await world.until(lambda: runs(world, place))


@in_virtual_time
async def test_what_was_replaced_meanwhile_is_stopped_when_the_node_returns(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = world.wanted()[0]
        world.store.cut(place.node)
        await asyncio.sleep(30)
        world.machines[place.node].host.crash(f"{place.instance}.app", 3)
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])
        assert runs(world, place)
        world.store.resume(place.node)
        await world.until(lambda: len(world.state.assignments) == 3)
        await world.until(world.runs(3))
        assert not runs(world, place)


@in_virtual_time
async def test_a_damaged_list_of_what_runs_is_told_and_harms_nobody(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(2))
        before = pids(world)
        await world.kill_agent("n1")
        (world.machines["n1"].path / "residents.json").write_text('{"residents": [1')
        world.store.cut("n1")
        world.start_agent("n1")
        await asyncio.sleep(300)
        assert pids(world) == before
        world.store.resume("n1")
        await world.until(lambda: "n1" in world.state.sessions)
        await world.until(world.runs(2))
        assert pids(world) == before


@in_virtual_time
async def test_a_full_disk_stops_and_restarts_nobody(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(2))
        place = world.wanted()[0]
        for name in ("agent.json.new", "residents.json.new"):
            (world.machines["n1"].path / name).mkdir()  # nothing can be written under it now
        kept = world.pids("n1")[f"{world.wanted()[1].instance}.app"]
        cut_all(world)
        await asyncio.sleep(60)
        world.machines["n1"].host.crash(f"{place.instance}.app", 3)
        await world.until(lambda: runs(world, place))
        resume_all(world)
        await world.until(lambda: observed(world, place).restarts == 1)
        await world.until(world.runs(2))
        assert world.pids("n1")[f"{world.wanted()[1].instance}.app"] == kept
