"""Host ports: picked in turn, never twice, and told when they are taken."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from orchestrator.agent.ports import PortPicker
from orchestrator.model import errors
from orchestrator.model.workload import (
    ContainerConfig,
    PortMapping,
    WorkloadDefinition,
)
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from tests.support.ports import free_port


def test_ports_are_picked_in_turn_and_not_reused_at_once() -> None:
    first = free_port()
    picker = PortPicker("n1", first, first + 50)
    one = picker.pick([("tcp", None)], {})
    two = picker.pick([("tcp", None), ("udp", None)], {("tcp", one[0]): "default.web.0.1"})
    assert len({*one, *two}) == 3
    assert min(two) > one[0]


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(errors.RuntimeError, match="no free tcp port left"):
            PortPicker("n1", port, port).pick([("tcp", None)], {})


def test_a_fixed_port_in_use_is_told_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(errors.RuntimeError, match=f"{port}/tcp is already in use on node n1"):
            PortPicker("n1", 1, 1).pick([("tcp", port)], {})


def test_a_fixed_port_is_picked_for_nobody_else() -> None:
    port = free_port()
    picker = PortPicker("n1", port, port + 50)
    picked, fixed = picker.pick([("tcp", None), ("tcp", port)], {})
    assert fixed == port
    assert picked != port


def test_a_fixed_port_of_another_instance_is_refused_and_its_holder_named() -> None:
    port = free_port()
    picker = PortPicker("n1", 1, 1)
    with pytest.raises(errors.RuntimeError, match=r"by instance default\.web\.0\.1: stop that"):
        picker.pick([("tcp", port)], {("tcp", port): "default.web.0.1"})


def test_the_same_number_is_another_port_in_another_protocol() -> None:
    port = free_port()
    taken = {("tcp", port): "default.web.0.1"}
    assert PortPicker("n1", 1, 1).pick([("udp", port)], taken) == [port]


def one_port(name: str, host_port: int | None) -> WorkloadDefinition:
    container = ContainerConfig("app", command=("serve",), ports=(PortMapping(80, host_port),))
    return replace(web(1), name=name, containers=(container,))


@in_virtual_time
async def test_a_port_that_was_picked_for_one_instance_is_refused_to_another(
    tmp_path: Path,
) -> None:
    async with World(tmp_path).running(controllers=1, nodes=1) as world:
        await world.apply(one_port("first", None))
        await world.until(world.runs(1))
        (first,) = world.state.observations.values()
        await world.apply(one_port("second", first.record.ports[0].host_port))
        refusal = "is already in use on node n1 by instance default.first.0.1"

        def is_refused() -> bool:
            seen = world.state.observations.values()
            return any(refusal in each.record.reason for each in seen)

        await world.until(is_refused)


class RemovesNothing(SimulatedRuntime):
    """As when deleting the files of a container takes long."""

    async def remove(self, container_id: str) -> None:
        await asyncio.sleep(inf)


@in_virtual_time
async def test_an_ended_instance_leaves_its_fixed_port_to_its_successor(tmp_path: Path) -> None:
    async with World(tmp_path).running(controllers=1, nodes=1) as world:
        await world.until(lambda: "n1" in world.state.sessions)
        await world.kill_agent("n1")
        world.start_agent("n1", RemovesNothing(world.machines["n1"].host))
        await world.apply(one_port("fixed", free_port()))
        await world.until(world.runs(1))
        world.machines["n1"].host.crash("default.fixed.0.1.app")
        await world.until(lambda: world.names() == ["0.2"] and world.runs(1)())
