"""Scenarios in which two releases are at work in one cluster: an upgrade, and the way back."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import replace

from orchestrator.model.manifest import to_document
from orchestrator.model.node import Availability
from tests.chaos.scenario import Scenario
from tests.support.chaos.arena import KEYS, Arena
from tests.support.chaos.next_release import MESH, make_next_release, marks
from tests.support.operator import key_of
from tests.support.orc_process import OrcProcess

NODE = "n1"


async def two_releases(arena: Arena) -> float:
    """The controllers go to the next release one by one and back, while people write through
    each: what the older one does not know, it keeps, and whoever leads carries on."""
    newer = await asyncio.to_thread(make_next_release, arena.path / "next")
    controllers = list(arena.cluster.controllers.values())
    steps = [(each, str(newer)) for each in controllers] + [(each, "") for each in controllers]
    slowest = 0.0
    async with arena.operating() as operator, arena.writing(operator):
        name = await arena.stand_up(operator, 4)
        for step, (each, sources) in enumerate(steps, start=1):
            arena.fault(f"another release of {each.name}")
            await asyncio.to_thread(_replace_by, each, sources)
            if step == 1:
                await asyncio.to_thread(_apply_what_only_it_knows, arena, each, name)
            slowest = max(slowest, await _use_each(arena, name))
        await _change_template(arena, name)
    rows = (KEYS.workload(key_of(name)), KEYS.revision(key_of(name), 3), KEYS.desired_node(NODE))
    found = [marks(arena.etcdctl.value(row)) for row in rows]
    assert found == [
        {f".spec.{MESH}": "strict", ".next_approval": "anna"},
        {f".{MESH}": "strict"},
        {".next_rack": "r7"},
    ]
    return slowest


def _replace_by(controller: OrcProcess, sources: str) -> None:
    """By another release; empty: this one."""
    controller.stop()
    controller.environment.pop("PYTHONPATH", None)
    if sources:
        controller.environment["PYTHONPATH"] = sources
    controller.start()


def _apply_what_only_it_knows(arena: Arena, controller: OrcProcess, name: str) -> None:
    definition = replace(arena.deeds.applied[name])
    manifest = {**to_document(definition), MESH: "strict"}
    path = f"/v1/workloads/{definition.namespace}/{name}"
    request = urllib.request.Request(
        controller.url + path,
        json.dumps(manifest).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10.0) as answer:
        assert json.load(answer)["generation"] == 2


async def _use_each(arena: Arena, name: str) -> float:
    """People scale down and up and cordon a node, through one replica after the other. What a
    leader has placed last, the next one stops."""
    slowest = 0.0
    for controller in arena.cluster.controllers:
        async with arena.operating(controller) as operator:
            for replicas in (2, 4):
                slowest = max(slowest, await arena.scale(operator, name, replicas))
            for availability in (Availability.CORDONED, Availability.ACTIVE):
                await operator.api.set_availability(NODE, availability)
    return slowest


async def _change_template(arena: Arena, name: str) -> None:
    """By a manifest that says nothing of what only the next release knows."""
    definition = replace(arena.deeds.applied[name], stop_grace_seconds=3.0)
    async with arena.operating() as operator:
        await arena.apply(operator, definition)
        await arena.runs(operator, name, definition.replicas)


SCENARIOS = (Scenario(30, "two releases side by side, up and down", two_releases, 5.0),)
