"""A store that a newer release has laid out: an older one writes nothing, and stops nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model.errors import ClusterError
from orchestrator.model.records import LAYOUT, dump
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from store.values import PutOp, Txn


async def lay_out(world: World, version: int) -> None:
    assert world.state.schema
    schema = replace(world.state.schema.record, version=version)
    put = PutOp(world.keys.schema, dump(schema))
    await world.store.connect("a newer release").txn(Txn(success=(put,)))


@in_virtual_time
async def test_its_replicas_do_not_stand_until_the_layout_is_theirs_again(tmp_path: Path) -> None:
    async with World(tmp_path).running(controllers=2) as world:
        await world.run(web(3))
        pids = {name: world.pids(name) for name in world.machines}
        await lay_out(world, LAYOUT + 1)
        for name in ("c1", "c2"):
            await world.stop_controller(name)
            world.start_controller(name)
        await asyncio.sleep(300)
        assert not world.leader
        assert {name: world.pids(name) for name in world.machines} == pids

        await lay_out(world, LAYOUT)
        await world.until(lambda: world.leader != "")
        await world.apply(web(5))
        await world.until(world.runs(5))


@in_virtual_time
async def test_its_agent_obeys_nothing_and_stops_nothing(tmp_path: Path) -> None:
    async with World(tmp_path).running(nodes=1) as world:
        await world.run(web(2))
        pids = world.pids("n1")
        await world.kill_agent("n1")
        await lay_out(world, LAYOUT + 1)
        world.start_agent("n1")
        life = world.machines["n1"].life
        assert life
        with pytest.raises(ClusterError, match=r"install the newer release .* Nothing has been"):
            await life
        assert world.pids("n1") == pids
        world.machines["n1"].life = None
