"""Scenarios in which packets are lost: partitions of every kind, slow lines and lost answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from orchestrator.model.node import NodeStatus
from tests.chaos.scenario import Scenario, Span
from tests.support.chaos.arena import TTL_SECONDS, Arena, becomes
from tests.support.chaos.bad_line import BadLine
from tests.support.chaos.ground import Ground
from tests.support.chaos.network import Network
from tests.support.etcd import EtcdMember
from tests.support.operator import Operator, until

NODE = "n1"
LOST_AFTER_SECONDS = 1.0
CUT_SECONDS = 8.0
LOSSY_SECONDS = 8.0
DELAY_SECONDS = 0.2


async def member_without_peers(arena: Arena) -> float:
    """A member of etcd that has lost its peers, but not its clients: those turn to others."""
    (far, *_) = arena.etcd.members
    await _attach_somebody(arena, far)
    async with (
        arena.operating() as operator,
        arena.writing(operator),
        arena.supervised(),  # a leader may find another member too late for its lease
    ):
        name = await arena.stand_up(operator, 3)
        arena.fault(f"{far.name} cut off from its peers")
        arena.firewall.isolate(far)
        began = time.monotonic()
        await arena.scale(operator, name, 5)
        for controller in arena.cluster.controllers:
            async with arena.operating(controller) as reader:
                await reader.running(name, 5)
        seconds = time.monotonic() - began
        await asyncio.sleep(max(0.0, CUT_SECONDS - seconds))
        arena.firewall.open()
        return seconds


async def _attach_somebody(arena: Arena, member: EtcdMember) -> None:
    """To which member of etcd a controller turns first is left to chance: try until one does."""
    unlucky = itertools.cycle(arena.cluster.controllers.values())
    while all(arena.member_of(each) is not member for each in arena.cluster.controllers.values()):
        controller = next(unlucky)
        await asyncio.to_thread(controller.stop)
        await asyncio.to_thread(controller.start)


async def requests_lost(arena: Arena) -> float:
    """A node that hears etcd, but is not heard."""
    return await _cut_off(arena, lambda: arena.firewall.drop_requests(NODE))


async def replies_lost(arena: Arena) -> float:
    """A node that etcd hears, but that hears nothing."""
    return await _cut_off(arena, lambda: arena.firewall.drop_replies(NODE))


async def node_cut_off(arena: Arena) -> float:
    """From everybody, and back: of what was replaced meanwhile, the old copy is stopped."""

    def cut() -> None:
        arena.firewall.drop_requests(NODE)
        arena.firewall.drop_replies(NODE)
        arena.firewall.drop_port(arena.cluster.agents[NODE].port)

    return await _cut_off(arena, cut)


async def _cut_off(arena: Arena, cut: Callable[[], None]) -> float:
    """Until its node is lost, and back. What may run twice is replaced; what must not, waits."""
    arena.deeds.lost_nodes.add(NODE)
    async with arena.operating() as operator:
        once, twice = await arena.once_and_twice(operator, LOST_AFTER_SECONDS)
        kept = arena.living(once)
        stranded = [life.pid for life in arena.living_on(NODE, twice)]
        arena.fault(f"{NODE} cut off")
        cut()
        began = time.monotonic()
        await arena.left(operator, twice, NODE)
        seconds = time.monotonic() - began
        assert {life.pid for life in arena.living(twice)} >= {*stranded}
        arena.firewall.open()
        await becomes(operator, NODE, NodeStatus.READY)
        await until(lambda: arena.is_without(NODE, twice))
        assert arena.living(once) == kept
    return seconds


@asynccontextmanager
async def _on_a_bad_line(arena: Arena) -> AsyncIterator[tuple[BadLine, Operator]]:
    """The only controller calls etcd over it, while people write; who ends is started again."""
    (member, *_) = arena.etcd.members
    line = BadLine(member.client_port)
    async with (
        line.open(),
        arena.behind(line) as controller,
        arena.operating(controller.name) as operator,
        arena.writing(operator),
        arena.supervised(),
    ):
        yield line, operator


async def answers_lost(arena: Arena) -> float:
    """To the only controller: what it writes is carried out, and it is not told so."""
    async with _on_a_bad_line(arena) as (line, operator):
        name = await arena.stand_up(operator, 2)
        arena.fault("etcd's answers lost")
        began = time.monotonic()
        scaling = asyncio.create_task(operator.scale(name, 6))
        while time.monotonic() < began + LOSSY_SECONDS:
            line.loses_replies = True
            await asyncio.sleep(arena.rng.uniform(0.1, 0.5))
            line.loses_replies = False
            await asyncio.sleep(arena.rng.uniform(0.3, 1.0))
        assert line.breaks > 0
        healed = time.monotonic()
        await scaling
        await operator.running(name, 6)
        return time.monotonic() - healed


async def slow_line(arena: Arena) -> float:
    """200 ms each way between the only controller and etcd, and now and then a line breaks."""
    async with _on_a_bad_line(arena) as (line, operator):
        name = await arena.stand_up(operator, 2)
        arena.fault("etcd far away")
        line.delay_seconds = DELAY_SECONDS
        for _ in range(2):
            await asyncio.sleep(arena.rng.uniform(0.5, 2.0))
            arena.fault("line to etcd cut")
            line.cut()
        began = time.monotonic()
        await arena.scale(operator, name, 6)
        return time.monotonic() - began


BY_NODE = Ground(members=1, controllers=2, agents=3, network=Network.BY_NODE)
FAR_MEMBER = Ground(agents=1, network=Network.FAR_MEMBER)
LOST_SECONDS = TTL_SECONDS + LOST_AFTER_SECONDS + 3.0

SCENARIOS = (
    Scenario(5, "answers lost after commits", answers_lost, 10.0),
    Scenario(
        10,
        "member of etcd without its peers",
        member_without_peers,
        8.0,
        FAR_MEMBER,
        span=Span.LONG,
    ),
    Scenario(11, "node cannot speak to etcd", requests_lost, LOST_SECONDS, BY_NODE),
    Scenario(11, "node cannot hear etcd", replies_lost, LOST_SECONDS, BY_NODE, span=Span.LONG),
    Scenario(12, "node cut off and back", node_cut_off, LOST_SECONDS, BY_NODE),
    Scenario(32, "etcd 200 ms away", slow_line, 15.0, span=Span.LONG),
)
