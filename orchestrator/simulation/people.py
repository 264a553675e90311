"""Simulated people: what they ask of the API, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

from orchestrator.api.bodies import NodePatch
from orchestrator.api.writer import DesiredWriter
from orchestrator.model.answers import Written
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import Move
from orchestrator.model.placement import PriorityClass
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import (
    ContainerConfig,
    OnNodeLost,
    PortMapping,
    RestartPolicy,
    WorkloadDefinition,
    WorkloadKey,
)
from orchestrator.runtime.protocol import ContainerState
from orchestrator.simulation.desk import Answer, Desk
from orchestrator.simulation.history import Violation
from orchestrator.simulation.invariants.answers import LABEL, Answers
from orchestrator.simulation.judge import Judge
from orchestrator.simulation.machine import Machine
from orchestrator.simulation.virtual_time import virtual_now

NAMES = ("web", "db", "cache", "batch", "gang", "edge", "lock")
POLICY = {"db": OnNodeLost.WAIT, "edge": OnNodeLost.WAIT, "lock": OnNodeLost.FENCE}
COMMANDS = {"batch": ("fail", "forget"), "cache": ("dawdle", "resist"), "web": ("serve",)}
RESTART = RestartPolicy(backoff_seconds=2.0, max_backoff_seconds=20.0)
MAX_REPLICAS = 8
ACTIVE = NodePatch(availability="active")
PATCHES = (
    ACTIVE,
    ACTIVE,
    NodePatch(availability="cordoned"),
    NodePatch(availability="draining"),
)

Wish = Callable[[], Awaitable[None]]


class People:
    """`wants` are asked of one replica after the other, by chance; `judge` hears
    the answers.

    A workload of one name always has the same policy for lost nodes: what may be replaced depends
    on it, and not on when it was changed.
    """

    def __init__(
        self,
        state: ClusterState,
        desks: Mapping[str, Desk],
        machines: Mapping[str, Machine],
        rng: random.Random,
        judge: Judge,
    ) -> None:
        self.asked: Counter[str] = Counter()
        self._state = state
        self._desks = desks
        self._machines = machines
        self._rng = rng
        self._judge = judge
        self._requests = 0

    async def live(self, seconds: float, eagerness_seconds: float) -> None:
        end = virtual_now() + seconds
        async with asyncio.TaskGroup() as tasks:
            for name in NAMES:
                tasks.create_task(self.apply(name))
            while virtual_now() < end:
                await asyncio.sleep(self._rng.uniform(0.0, 2.0 * eagerness_seconds))
                tasks.create_task(self._wish())

    async def _wish(self) -> None:
        name = self._rng.choice(NAMES)
        wishes: tuple[tuple[Callable[[], Awaitable[None]], int], ...] = (
            (partial(self.apply, name), 8),
            (partial(self._scale, name), 4),
            (partial(self._delete, name), 2),
            (self._move, 2),
            (self._change_node, 2),
            (self._remove_lost_node, 1),
        )
        chosen = self._rng.choices([wish for wish, _ in wishes], [each for _, each in wishes])
        await chosen[0]()

    async def apply(self, name: str) -> None:
        self._requests += 1
        label = str(self._requests)
        definition = drawn(name, self._rng, label)
        before = self._judge.restorations
        answer = await self._ask("apply", lambda writer: writer.apply(definition))
        row = self._state.keys.workload(definition.key)
        if self._judge.restorations == before:  # else it may have been done where it is no more
            self._tell(self._judge.answers.answered(label, row, answer))

    async def _scale(self, name: str) -> None:
        # of what has a port of its node to itself, there is one on each at most
        replicas = min(self._rng.randrange(MAX_REPLICAS), len(self._machines))
        key = WorkloadKey("default", name)
        await self._ask("scale", lambda writer: writer.scale(key, replicas))

    async def _delete(self, name: str) -> None:
        key = WorkloadKey("default", name)
        before = self._judge.restorations
        answer = await self._ask("delete", lambda writer: writer.delete(key))
        if self._judge.restorations == before:
            self._tell(self._judge.answers.removed(self._state.keys.workload(key), answer))

    async def _move(self) -> None:
        places = sorted(self._state.assignments)
        if places:
            place = self._rng.choice(places)
            revision = self._state.assignments[place].mod_revision
            move = Move("by request")
            await self._ask("move", lambda writer: writer.move(place, move, revision))

    async def _change_node(self) -> None:
        if names := sorted(self._state.reports):
            node = self._rng.choice(names)
            await self._patch(node, self._rng.choice(PATCHES))

    async def _patch(self, node: str, patch: NodePatch) -> None:
        await self._ask("node", lambda writer: writer.change_node(node, patch))

    async def _remove_lost_node(self) -> None:
        gone = self._state.reports.keys() - self._state.sessions.keys()
        if dead := sorted(node for node in gone if self._is_dead(node)):
            node = self._rng.choice(dead)
            await self._ask("remove node", lambda writer: writer.remove_node(node))

    def _is_dead(self, node: str) -> bool:
        """They have looked: that nothing runs there, and nobody who could start it, is their word
        for it."""
        machine = self._machines[node]
        containers = machine.host.containers.values()
        runs = any(each.status.state is ContainerState.RUNNING for each in containers)
        return not runs and not machine.is_attended

    async def tidy_up(self) -> None:
        """So that everything can run: every node is to be used."""
        while closed := self._closed_nodes():
            for node in closed:
                await self._patch(node, ACTIVE)
            await asyncio.sleep(1.0)

    def _closed_nodes(self) -> list[str]:
        return sorted(
            node
            for node, entry in self._state.desired_nodes.items()
            if entry.record.availability.value != "active" and node in self._state.reports
        )

    async def _ask(self, what: str, act: Callable[[DesiredWriter], Awaitable[Written]]) -> Answer:
        desk = self._desks[self._rng.choice(sorted(self._desks))]
        answer = await desk.ask(act)
        self.asked[f"{what} {answer.status or 'unanswered'}"] += 1
        return answer

    def _tell(self, violations: Iterator[Violation]) -> None:
        for violation in violations:
            self._judge.tell(Answers.name, violation)


def drawn(name: str, rng: random.Random, label: str) -> WorkloadDefinition:
    """Small enough that all of them fit into a few nodes."""
    ports = (PortMapping(80, host_port=8000),) if name == "edge" else ()
    container = ContainerConfig(
        "app",
        command=(rng.choice(COMMANDS.get(name, ("serve",))),),
        env_vars={"color": rng.choice(("blue", "green", "red"))},
        ports=ports,
        resource_requests=NodeResources(rng.choice((0.1, 0.25)), rng.choice((64.0, 128.0))),
    )
    replicas = rng.randrange(4 if name == "edge" else MAX_REPLICAS)
    return WorkloadDefinition(
        name,
        (container,),
        replicas=replicas,
        labels={LABEL: label},
        stop_grace_seconds=rng.choice((1.0, 2.0)),
        restart=RESTART,
        on_node_lost=POLICY.get(name, OnNodeLost.REPLACE),
        priority=rng.choice(tuple(PriorityClass)),
        gang=name == "gang",
        min_available=rng.choice((None, 1, 2)) if name in ("web", "db") else None,
    )
