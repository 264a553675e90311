"""The main job, in virtual time: a workload stays alive while controllers, agents and nodes die."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.model.views import observation_of
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.simulation.world import World

KEY = web().key


@in_virtual_time
async def test_a_workload_comes_up_on_all_nodes(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        assert {place.node for place in world.wanted()} == {"n1", "n2", "n3"}


@in_virtual_time
async def test_scale_up_down_and_delete(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(2))
        await world.run(web(6))
        await world.apply(web(1))
        await world.until(lambda: world.runs(1)() and len(world.state.assignments) == 1)
        await world.delete(KEY)
        await world.until(lambda: KEY not in world.state.statuses and not world.state.observations)
        assert all(not machine.host.containers for machine in world.machines.values())


@in_virtual_time
async def test_a_crashed_instance_gets_a_new_attempt_with_the_reason(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = world.wanted()[1]
        world.machines[place.node].host.crash(f"{place.instance}.app", 137)
        await world.until(lambda: world.names() == ["0.1", "1.2", "2.1"])
        await world.until(world.runs(3))
        reason = world.state.assignments[world.wanted()[1]].record.reason
        assert "exited with code 137 (SIGKILL)" in reason


@in_virtual_time
async def test_a_restarted_agent_adopts_what_runs(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(6))
        before = world.pids("n2")
        await world.kill_agent("n2")
        world.start_agent("n2")
        await world.until(lambda: "n2" in world.state.sessions)
        await world.until(world.runs(6))
        assert world.pids("n2") == before
        assert world.names() == [f"{slot}.1" for slot in range(6)]


@in_virtual_time
async def test_what_died_while_the_agent_was_away_is_found(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        place = next(each for each in world.wanted() if each.node == "n2")
        await world.kill_agent("n2")
        world.machines["n2"].host.crash(f"{place.instance}.app", 3)
        world.start_agent("n2")
        await world.until(lambda: place not in world.wanted())
        await world.until(world.runs(3))


@in_virtual_time
async def test_a_killed_leader_is_followed_and_a_scale_in_the_gap_happens_once(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(2))
        old = world.leader
        await world.kill_controller(old)
        await world.apply(web(5))
        await world.until(lambda: world.leader not in {"", old}, within=7)
        await world.until(world.runs(5))
        assert world.names() == ["0.1", "1.1", "2.1", "3.1", "4.1"]
        assert sum(len(each.host.containers) for each in world.machines.values()) == 5


@in_virtual_time
async def test_a_leader_that_is_asked_to_stop_hands_over_at_once(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.until(lambda: world.leader != "")
        old, started = world.leader, virtual_now()
        await world.stop_controller(old)
        await world.until(lambda: world.leader not in {"", old})
        assert virtual_now() - started < 0.1


@in_virtual_time
async def test_a_lost_node_is_replaced_after_its_lease_and_patience(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(3))
        lost = world.wanted()[0].node
        await world.kill_agent(lost)
        world.machines[lost].host.reboot()
        started = virtual_now()
        await world.until(lambda: world.names() == ["0.2", "1.1", "2.1"])
        assert 30 <= virtual_now() - started <= 30 + 10 + 2
        await world.until(world.runs(3))
        world.start_agent(lost)
        await world.until(lambda: len(world.state.assignments) == 3)


@in_virtual_time
async def test_nothing_is_touched_while_the_store_is_away(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.run(web(6))
        before = {name: world.pids(name) for name in world.machines}
        everybody = [*world.machines, *world.controllers]
        for name in everybody:
            world.store.cut(name)
        await asyncio.sleep(60)
        for name in everybody:
            world.store.resume(name)
        world.restart_what_ended()
        await world.until(world.runs(6))
        assert {name: world.pids(name) for name in world.machines} == before
        await world.run(web(7))


@in_virtual_time
async def test_an_observation_answers_its_own_assignment(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(1))
        place = world.wanted()[0]
        observation = observation_of(world.state, place)
        assert observation
        assert observation.assignment == world.state.assignments[place].create_revision


@in_virtual_time
async def test_nodes_that_come_and_go_are_told(tmp_path: Path) -> None:
    async with World(tmp_path).running() as world:
        await world.until(lambda: world.leader != "")
        await world.until(lambda: len(world.state.sessions) == 3)
        await world.kill_agent("n2")
        await world.until(lambda: ("NodeUnreachable", "n2") in told(world))
        world.start_agent("n2")
        await world.until(lambda: ("NodeJoined", "n2") in told(world))


def told(world: World) -> set[tuple[str, str]]:
    return {(each.record.kind, each.record.subject) for each in world.state.events.values()}
