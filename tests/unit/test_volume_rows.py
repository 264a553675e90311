"""Volume rows and image pins of an agent: in the store before anything relies on them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.agent.image_pins import PinStore
from orchestrator.agent.reporter import AUDIT_SECONDS, Reporter
from orchestrator.agent.volume_rows import VolumeRows
from orchestrator.model.container import Mount
from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import Keys, VolumePlace
from orchestrator.model.records import dump
from orchestrator.model.volume import VolumeName
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate
from orchestrator.runtime.volumes.local import FirstUse
from orchestrator.runtime.volumes.node_volumes import NodeVolumes
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.errors import SessionLost
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.patience import Patience
from store.transactions import SessionFence
from store.values import DeleteOp, PutOp, RangeOp, Txn
from tests.support.volumes import LOCAL, Node, spec_with

KEYS = Keys()
SLOT = InstanceName("default", "web", 0, 1)
NAME = VolumeName("default", "web", 0, "db")
ROW = KEYS.volume(VolumePlace("n1", NAME))
OWNER = FirstUse(os.getuid(), os.getgid())
CONTAINER = ContainerConfig("app", image="busybox:1", mounts=(Mount("db", "/db"),))
TEMPLATE = WorkloadTemplate((CONTAINER,), volumes=(LOCAL,))


@dataclass
class Desk:
    memory: MemoryCluster
    people: MemoryStore
    reporter: Reporter
    volumes: NodeVolumes
    rows: VolumeRows

    async def has_row(self, key: str = ROW) -> bool:
        return bool((await self.people.range(RangeOp(key))).kvs)

    async def register(self) -> None:
        self.reporter.set_fence(await session_of(self.memory, self.people, "n1"))


async def session_of(memory: MemoryCluster, people: MemoryStore, node: str) -> SessionFence:
    lease = memory.engine.revision + 1
    await people.grant_lease(lease, 100_000)
    put = PutOp(KEYS.session(node), b"{}", lease)
    revision = (await people.txn(Txn(success=(put,)))).header.revision
    return SessionFence(KEYS.session(node), revision)


def patience() -> Patience:
    return Patience(virtual_now, random.Random(1), limit_seconds=5.0)


@asynccontextmanager
async def desk(root: Path, memory: MemoryCluster | None = None) -> AsyncIterator[Desk]:
    """A life of an agent on what is at `root`."""
    memory = memory or MemoryCluster(virtual_now)
    store, rng = memory.connect("n1"), random.Random(1)
    reporter = Reporter(store, KEYS, "n1", clock=virtual_now, patience=patience, rng=rng)
    await reporter.load()
    volumes = Node(root).begin()
    rows = VolumeRows("n1", KEYS, reporter, volumes, now=virtual_now)
    rows.match()
    task = asyncio.create_task(reporter.run())
    try:
        yield Desk(memory, memory.connect("people"), reporter, volumes, rows)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
async def test_the_row_is_there_before_the_volume_and_stays_with_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.register()
        async with it.rows.announced(SLOT, TEMPLATE):
            assert await it.has_row()
            assert it.volumes.names() == []
            await it.volumes.mounts(spec_with(LOCAL), OWNER)
        await it.reporter.flushed()
        assert await it.has_row()


@in_virtual_time
async def test_nothing_starts_while_the_row_cannot_be_written(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        entered = asyncio.Event()

        async def start() -> None:
            async with it.rows.announced(SLOT, TEMPLATE):
                entered.set()

        task = asyncio.create_task(start())
        await asyncio.sleep(60)
        assert not entered.is_set()
        await it.register()
        await task
        assert entered.is_set()


@in_virtual_time
async def test_a_start_that_came_to_nothing_leaves_no_row(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.register()
        with pytest.raises(ConnectionError):
            async with it.rows.announced(SLOT, TEMPLATE):
                raise ConnectionError
        await it.reporter.flushed()
        assert not await it.has_row()


@in_virtual_time
async def test_a_volume_that_nobody_mounts_has_no_row(tmp_path: Path) -> None:
    unused = WorkloadTemplate((), volumes=(LOCAL,))
    async with desk(tmp_path) as it, it.rows.announced(SLOT, unused):
        assert it.reporter.said == {}


@in_virtual_time
async def test_at_the_start_rows_and_disk_are_made_to_match(tmp_path: Path) -> None:
    async with desk(tmp_path) as first:
        await first.register()
        other = InstanceName("default", "web", 1, 1)
        for slot in (SLOT, other):
            async with first.rows.announced(slot, TEMPLATE):
                await first.volumes.mounts(spec_with(LOCAL, instance=str(slot)), OWNER)
        await first.reporter.flushed()
        gone, kept = (KEYS.volume(VolumePlace("n1", NAME._replace(slot=each))) for each in (0, 1))
        (tmp_path / "local" / str(NAME)).rename(tmp_path / "local" / str(NAME._replace(slot=2)))
        memory = first.memory
    async with desk(tmp_path, memory) as second:
        second.reporter.set_fence(first.reporter.fence)
        await second.reporter.flushed()
        new = KEYS.volume(VolumePlace("n1", NAME._replace(slot=2)))
        assert [await second.has_row(key) for key in (gone, kept, new)] == [False, True, True]


@in_virtual_time
async def test_a_row_that_people_delete_comes_back(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.register()
        async with it.rows.announced(SLOT, TEMPLATE):
            await it.volumes.mounts(spec_with(LOCAL), OWNER)
        await it.people.txn(Txn(success=(DeleteOp(ROW),)))
        await asyncio.sleep(2 * AUDIT_SECONDS + 1)
        assert await it.has_row()


@in_virtual_time
async def test_deleting_takes_the_row_too_but_not_from_what_is_about_to_start(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as it:
        await it.register()
        async with it.rows.announced(SLOT, TEMPLATE):
            await it.volumes.mounts(spec_with(LOCAL), OWNER)
            await it.volumes.release(spec_with(LOCAL).id)
            with pytest.raises(StateError, match="is about to be used"):
                await it.rows.remove(NAME)
        await it.rows.remove(NAME)
        assert not await it.has_row()
        assert it.volumes.names() == []


ASSIGNMENT = Assignment("default", "web", 3, 0, 1, Wanted.RUNNING, "to fill the slot")
PINS = KEYS.image_pins(SLOT.workload_key, 3)


@dataclass
class Registry:
    """What a tag means: another image each time that somebody looks."""

    looks: int = 0

    async def resolve(self) -> dict[str, str]:
        self.looks += 1
        digest = self.looks
        await asyncio.sleep(1)
        return {"app": f"lib/app@sha256:{digest:064x}"}


@asynccontextmanager
async def pinning(*nodes: str) -> AsyncIterator[tuple[MemoryStore, list[PinStore]]]:
    """Agents on one store, which has the template."""
    memory = MemoryCluster(virtual_now)
    people = memory.connect("people")
    template = PutOp(KEYS.revision(SLOT.workload_key, 3), dump(TEMPLATE))
    await people.txn(Txn(success=(template,)))
    stores = []
    for node in nodes:
        fence = await session_of(memory, people, node)
        stores.append(
            PinStore(
                memory.connect(node),
                KEYS,
                fence=lambda fence=fence: fence,  # type: ignore[misc]
                patience=patience,
                rng=random.Random(node),
            )
        )
    yield people, stores


@in_virtual_time
async def test_agents_that_race_run_the_same_image() -> None:
    async with pinning("n1", "n2", "n3") as (_, stores):
        registry = Registry()
        first, *others = await asyncio.gather(
            *(each.pin(ASSIGNMENT, registry.resolve) for each in stores)
        )
        assert registry.looks == len(stores)
        assert others == [first, first]


@in_virtual_time
async def test_whoever_comes_later_does_not_look_again() -> None:
    async with pinning("n1", "n2") as (_, stores):
        registry = Registry()
        found = [await each.pin(ASSIGNMENT, registry.resolve) for each in stores]
        assert found[0] == found[1]
        assert registry.looks == 1


@in_virtual_time
async def test_nothing_is_pinned_for_a_template_that_is_gone() -> None:
    async with pinning("n1") as (people, [store]):

        async def resolve() -> dict[str, str]:
            await people.txn(Txn(success=(DeleteOp(KEYS.revision(SLOT.workload_key, 3)),)))
            return {"app": "lib/app@sha256:0"}

        with pytest.raises(StateError, match="generation 3, is missing from the store: apply"):
            await store.pin(ASSIGNMENT, resolve)
        assert (await people.range(RangeOp(PINS))).kvs == ()


@in_virtual_time
async def test_a_node_without_its_session_pins_nothing() -> None:
    async with pinning("n1") as (people, [store]):
        await people.txn(Txn(success=(DeleteOp(KEYS.session("n1")),)))
        with pytest.raises(SessionLost, match="images cannot be pinned"):
            await store.pin(ASSIGNMENT, Registry().resolve)
        assert (await people.range(RangeOp(PINS))).kvs == ()
