"""All scenarios, in the order of the fault plan."""

from __future__ import annotations

from tests.chaos import (
    at_random,
    on_agents,
    on_controllers,
    on_etcd,
    on_load,
    on_networks,
    on_releases,
    on_space,
    on_time,
)
from tests.chaos.scenario import Scenario

_ROOMS = (
    *(at_random, on_agents, on_controllers, on_etcd, on_load),
    *(on_networks, on_releases, on_space, on_time),
)
SCENARIOS: tuple[Scenario, ...] = tuple(
    sorted(
        (scenario for room in _ROOMS for scenario in room.SCENARIOS),
        key=lambda scenario: scenario.name,
    )
)
