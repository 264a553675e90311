"""One writer for each key: who has written what is read off the store's whole history."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.api.bodies import NodePatch
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.events import EventLog
from orchestrator.cluster.view import ClusterView
from orchestrator.model.keys import (
    WRITER_OF,
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    Writer,
)
from orchestrator.model.workload import WorkloadKey
from store.transactions import stamp_of
from store.values import Event
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time, virtual_now
from tests.support.world import World

KEYS = Keys()


@dataclass
class Onlooker:
    """Follows the history, and says of each put who has made it, by its stamp and its lease."""

    epochs: set[int] = field(default_factory=set)
    node_by_session: dict[int, str] = field(default_factory=dict)
    seen: set[tuple[Kind, Writer]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def look(self, revision: int, events: tuple[Event, ...]) -> None:
        for event in events:
            if not event.is_delete:
                self._judge(revision, event, KEYS.parse(event.kv.key))

    def _judge(self, revision: int, event: Event, parsed: ParsedKey) -> None:
        if parsed.kind is Kind.LEADER:
            self.epochs.add(event.kv.create_revision)
        if parsed.kind is Kind.SESSION:
            self.node_by_session[event.kv.create_revision] = str(parsed.name)
        writer = self._writer(event, parsed)
        self.seen.add((parsed.kind, writer))
        if WRITER_OF[parsed.kind] not in {writer, Writer.ANYBODY}:
            self.wrong.append(f"{event.kv.key} was written by {writer} at {revision}")

    def _writer(self, event: Event, parsed: ParsedKey) -> Writer:
        epoch = stamp_of(event.kv.value).get("epoch")
        if epoch in self.epochs:
            return Writer.LEADER
        if epoch is not None:
            is_its_own = self.node_by_session.get(epoch) == _node(parsed)
            return Writer.AGENT if is_its_own else Writer.ANYBODY
        if not event.kv.lease or parsed.kind is Kind.EVENT:
            return Writer.API
        return Writer.ELECTION if parsed.kind is Kind.LEADER else Writer.AGENT


def _node(parsed: ParsedKey) -> str:
    return parsed.name.node if isinstance(parsed.name, InstancePlace) else str(parsed.name)


def test_the_table_names_every_kind() -> None:
    assert set(WRITER_OF) == set(Kind)


@in_virtual_time
async def test_each_key_is_written_by_its_one_writer(tmp_path: Path) -> None:
    onlooker = Onlooker()
    world = World(tmp_path)
    world.store.observe(onlooker.look)
    async with world.running():
        rng = random.Random(7)
        view = ClusterView(world.store.connect("api"), KEYS, clock=virtual_now, rng=rng)
        following = asyncio.create_task(view.run())
        events = EventLog(view.store, KEYS, by="api", wall_clock=virtual_now, rng=rng)
        people = DesiredWriter(view, events, rng=rng)
        await view.synced()
        await people.apply(web(3))
        await world.until(world.runs(3))
        await people.change_node("n1", NodePatch(availability="cordoned"))
        await people.scale(WorkloadKey("default", "web"), 5)
        await world.until(world.runs(5))
        await world.kill_controller(world.leader)
        await world.kill_agent("n2")
        world.start_agent("n2")
        await world.until(world.runs(5))
        await people.delete(WorkloadKey("default", "web"))
        await world.until(lambda: not world.state.observations and not world.state.statuses)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert onlooker.wrong == []
    written = {kind for kind, _ in onlooker.seen}
    assert written == set(Kind), f"nobody has written {set(Kind) - written}"
