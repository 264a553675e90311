"""Cutting a simulated cluster off its store, and looking at what runs on it meanwhile."""

from __future__ import annotations

from orchestrator.model.instance import InstanceObservation
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import observation_of
from orchestrator.runtime.protocol import ContainerState
from orchestrator.runtime.simulated_host import SimulatedContainer
from orchestrator.simulation.world import World


def cut_all(world: World) -> None:
    for name in [*world.machines, *world.controllers]:
        world.store.cut(name)


def resume_all(world: World) -> None:
    for name in [*world.machines, *world.controllers]:
        world.store.resume(name)
    world.restart_what_ended()


def pids(world: World) -> dict[str, dict[str, int | None]]:
    return {name: world.pids(name) for name in world.machines}


def container(world: World, place: InstancePlace) -> SimulatedContainer:
    return world.machines[place.node].host.containers[f"{place.instance}.app"]


def runs(world: World, place: InstancePlace) -> bool:
    found = world.machines[place.node].host.containers.get(f"{place.instance}.app")
    return found is not None and found.status.state is ContainerState.RUNNING


def observed(world: World, place: InstancePlace) -> InstanceObservation:
    found = observation_of(world.state, place)
    assert found is not None
    return found
