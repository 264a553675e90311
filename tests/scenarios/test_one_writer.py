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
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import Move
from orchestrator.model.keys import (
    OWNERS,
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    Role,
    VolumePlace,
)
from orchestrator.model.records import dump
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import WorkloadKey
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from orchestrator.simulation.world import World
from store.commit import commit
from store.memory.cluster import MemoryCluster
from store.patience import Patience
from store.transactions import (
    Committed,
    Delete,
    Mutation,
    Put,
    SessionFence,
    Transaction,
    new_op,
)
from store.values import Compare, Event, Target, Txn, TxnResult

KEYS = Keys()

RIGHTS = {(kind, False, role) for kind, owners in OWNERS.items() for role in owners.writers} | {
    (kind, True, role) for kind, owners in OWNERS.items() for role in owners.deleters
}
BY_LEASE_ALONE = {(Kind.SESSION, True, Role.AGENT)}
"""An agent deletes its session by hand only when somebody has taken it off its lease."""


@dataclass
class Onlooker:
    """Follows the history, and says of each change whose it is, by its fence and its lease.

    A delete tells nothing of itself; so the transactions are listened to as well.
    """

    epochs: set[int] = field(default_factory=set)
    node_by_session: dict[int, str] = field(default_factory=dict)
    on_lease: set[str] = field(default_factory=set)
    seen: set[tuple[Kind, bool, Role]] = field(default_factory=set)
    """What was put, or deleted (True), by whom."""
    wrong: list[str] = field(default_factory=list)
    request: Txn | None = None

    def follow(self, memory: MemoryCluster) -> None:
        carry_out = memory.engine.txn

        def seen(request: Txn) -> TxnResult:
            self.request = request
            try:
                return carry_out(request)
            finally:
                self.request = None

        memory.engine.txn = seen  # type: ignore[assignment, method-assign]
        memory.observe(self._look)

    def _look(self, revision: int, events: tuple[Event, ...]) -> None:
        for event in events:
            self._judge(revision, event, KEYS.parse(event.kv.key))

    def _judge(self, revision: int, event: Event, parsed: ParsedKey) -> None:
        if self.request is None:
            assert event.is_delete
            assert event.kv.key in self.on_lease, "only a lease's end is not asked for"
            return
        if parsed.kind is Kind.LEADER:
            self.epochs.add(event.kv.create_revision)
        if parsed.kind is Kind.SESSION:
            self.node_by_session[event.kv.create_revision] = str(parsed.name)
        if event.kv.lease:
            self.on_lease.add(event.kv.key)
        role = self._role(event, parsed, self.request.compares)
        owners = OWNERS[parsed.kind]
        if role not in (owners.deleters if event.is_delete else owners.writers):
            deed = "deleted" if event.is_delete else "written"
            self.wrong.append(f"{event.kv.key} was {deed} by {role} at {revision}")
        if role:
            self.seen.add((parsed.kind, event.is_delete, role))

    def _role(self, event: Event, parsed: ParsedKey, guards: tuple[Compare, ...]) -> Role | None:
        """None: an agent that has meddled with another node's keys."""
        if parsed.kind is Kind.LEADER:
            is_race = Compare(KEYS.leader, Target.CREATE, 0) in guards
            return Role.CANDIDATE if is_race or event.is_delete else None
        if parsed.kind is Kind.SESSION:
            return Role.AGENT if event.kv.lease else None
        fences = {each.operand for each in guards if each.target is Target.CREATE}
        if fences & self.epochs:
            return Role.LEADER
        nodes = {name for epoch, name in self.node_by_session.items() if epoch in fences}
        if nodes:
            is_anybodys = parsed.kind is Kind.IMAGE_PINS
            return Role.AGENT if is_anybodys or nodes == {_node(parsed)} else None
        return Role.API


def _node(parsed: ParsedKey) -> str:
    name = parsed.name
    return name.node if isinstance(name, InstancePlace | VolumePlace) else str(name)


def test_the_table_names_every_kind() -> None:
    assert set(OWNERS) == set(Kind)


async def have_moved(people: DesiredWriter, view: ClusterView, world: World) -> None:
    """All are to move, one after the other as their budget has it, and one stays after all."""
    await view.reached(world.state.revision)
    places = world.wanted()
    for place in places:
        assignment = view.state.assignments[place].mod_revision
        await people.move(place, Move("by request"), assignment)
    await people.stay(places[-1].instance)
    await world.until(lambda: not world.state.moves)
    await world.until(world.runs(len(places)))


async def as_agent(world: World, node: str, *mutations: Mutation) -> None:
    """What it writes besides, where there are images and volumes; simulated nodes have none."""
    fence = SessionFence(KEYS.session(node), world.state.sessions[node].create_revision)
    transaction = Transaction(mutations, new_op(world.rng), fence)
    store = world.store.connect(node)
    patience = Patience(virtual_now, world.rng, limit_seconds=10.0)
    assert isinstance(await commit(store, transaction, patience), Committed)


def volume_on(node: str, base: int = 0) -> Put:
    place = VolumePlace(node, VolumeName("default", "web", 0, "content"))
    return Put(KEYS.volume(place), dump(NodeVolume(0.0)), base)


async def have_images_and_data(world: World) -> None:
    pins = KEYS.image_pins(WorkloadKey("default", "web"), 1)
    volume = volume_on("n1")
    await as_agent(world, "n1", volume, Put(pins, dump(ImagePins()), 0))
    await world.until(lambda: bool(world.state.volumes and world.state.image_pins))
    [entry] = world.state.volumes.values()
    await as_agent(world, "n1", Delete(volume.key, entry.mod_revision))


@in_virtual_time
async def test_each_key_is_written_and_deleted_by_its_owners_alone(tmp_path: Path) -> None:
    onlooker = Onlooker()
    world = World(tmp_path)
    onlooker.follow(world.store)
    async with world.running():
        rng = random.Random(7)
        view = ClusterView(world.store.connect("api"), KEYS, clock=virtual_now, rng=rng)
        following = asyncio.create_task(view.run())
        events = EventLog(view.store, KEYS, by="api", wall_clock=virtual_now, rng=rng)
        people = DesiredWriter(view, events, rng=rng)
        await view.synced()
        await people.apply(web(3))
        await world.until(world.runs(3))
        await have_moved(people, view, world)
        await have_images_and_data(world)
        await people.change_node("n1", NodePatch(availability="cordoned"))
        await people.change_node("n3", NodePatch(labels={"rack": "r1"}))
        await people.scale(WorkloadKey("default", "web"), 5)
        await world.until(world.runs(5))
        await world.kill_controller(world.leader)
        await world.kill_agent("n2")
        world.start_agent("n2")
        await world.until(world.runs(5))
        await world.kill_agent("n3")
        await as_agent(world, "n3", volume_on("n3"))
        await world.until(lambda: "n3" not in world.state.sessions)
        await people.remove_node("n3")
        await world.until(world.runs(5))
        await world.stop_controller(world.leader)
        await people.delete(WorkloadKey("default", "web"))
        await world.until(lambda: not world.state.observations and not world.state.statuses)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert onlooker.wrong == []
    missing = RIGHTS - onlooker.seen
    assert missing == BY_LEASE_ALONE, "nobody has made use of that right"
