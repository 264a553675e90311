"""One instance gives way to another on its node: never both at once, whatever the agent suffers.

There is no leader here: its rows are written by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from orchestrator.model.instance import Assignment, InstanceObservation, Wanted
from orchestrator.model.instance import WorkloadInstanceStatus as Status
from orchestrator.model.keys import InstancePlace
from orchestrator.model.records import Schema, dump
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedContainer
from orchestrator.simulation.virtual_time import in_virtual_time
from orchestrator.simulation.world import World
from store.values import DeleteOp, PutOp, Txn

GRACE_SECONDS = 5.0
BATCH = Assignment("default", "batch", 1, 0, 1, Wanted.RUNNING, "wanted")
STOPPED = replace(BATCH, wanted=Wanted.STOPPED, reason="gives way", displaced_by="default/api")
API = Assignment("default", "api", 1, 0, 1, Wanted.RUNNING, "wanted", after=(str(BATCH.name),))
"""Its name sorts before that of the one which gives way: it is looked at first."""
WAITS = "waits for default.batch.0.1 to stop"


def key(world: World, assignment: Assignment) -> str:
    return world.keys.assignment(InstancePlace("n1", assignment.name))


async def write(world: World, *writes: PutOp | DeleteOp) -> None:
    await world.store.connect("people").txn(Txn(success=writes))


async def assign(world: World, *assignments: Assignment) -> None:
    await write(world, *(PutOp(key(world, each), dump(each)) for each in assignments))


@asynccontextmanager
async def one_node(path: Path) -> AsyncIterator[World]:
    """There, the batch job takes all of its grace to stop."""
    async with World(path).running(controllers=0, nodes=1) as world:
        await write(world, PutOp(world.keys.schema, dump(Schema(store_id="by-hand"))))
        world.machines["n1"].host.program("batch", Program(ignores_sigterm=True))
        for each in (BATCH, API):
            template = WorkloadTemplate(
                (ContainerConfig("app", command=(each.workload,)),), GRACE_SECONDS
            )
            revision = world.keys.revision(each.name.workload_key, 1)
            await write(world, PutOp(revision, dump(template)))
        yield world


@asynccontextmanager
async def batch_running(path: Path) -> AsyncIterator[tuple[World, SimulatedContainer]]:
    async with one_node(path) as world:
        await assign(world, BATCH)
        await world.until(lambda: seen(world, BATCH).status is Status.RUNNING)
        yield world, container(world, BATCH)


def container(world: World, assignment: Assignment) -> SimulatedContainer:
    return world.machines["n1"].host.containers[f"{assignment.name}.app"]


def seen(world: World, assignment: Assignment) -> InstanceObservation:
    entry = world.state.observations.get(InstancePlace("n1", assignment.name))
    return entry.record if entry else InstanceObservation(Status.UNKNOWN)


async def until_it_waits(world: World) -> None:
    await world.until(lambda: seen(world, API).reason == WAITS)
    assert seen(world, API).status is Status.PENDING


async def api_running(world: World) -> ContainerStatus:
    await world.until(lambda: seen(world, API).status is Status.RUNNING)
    return container(world, API).status


def starts_as_soon_as_it_may(api: ContainerStatus, batch: SimulatedContainer) -> bool:
    """Not before the end of what gave way, and not only at the agent's next slow look."""
    started, finished = api.started_at, batch.status.finished_at
    return started is not None and finished is not None and 0 <= started - finished < 1


@in_virtual_time
async def test_one_starts_as_soon_as_the_other_has_stopped(tmp_path: Path) -> None:
    async with batch_running(tmp_path) as (world, batch):
        await assign(world, STOPPED, API)
        await until_it_waits(world)
        assert starts_as_soon_as_it_may(await api_running(world), batch)
        assert seen(world, BATCH).status is Status.SUCCEEDED


@in_virtual_time
async def test_the_agent_dies_while_one_waits_for_the_other(tmp_path: Path) -> None:
    async with batch_running(tmp_path) as (world, batch):
        await assign(world, STOPPED, API)
        await until_it_waits(world)
        await world.kill_agent("n1")
        assert batch.status.finished_at is None
        world.start_agent("n1")
        assert starts_as_soon_as_it_may(await api_running(world), batch)


@in_virtual_time
async def test_what_gives_way_is_forgotten_while_the_agent_is_dead(tmp_path: Path) -> None:
    async with batch_running(tmp_path) as (world, batch):
        await assign(world, API)
        await until_it_waits(world)
        await world.kill_agent("n1")
        await write(world, DeleteOp(key(world, BATCH)))
        world.start_agent("n1")
        assert starts_as_soon_as_it_may(await api_running(world), batch)


@in_virtual_time
async def test_what_gives_way_crashes_by_itself(tmp_path: Path) -> None:
    async with batch_running(tmp_path) as (world, batch):
        await assign(world, API)
        await until_it_waits(world)
        world.machines["n1"].host.crash("default.batch.0.1.app")
        assert starts_as_soon_as_it_may(await api_running(world), batch)


class SlowRuntime(SimulatedRuntime):
    """Takes its time before there is anything to be seen of a batch job."""

    async def create(self, spec: ContainerSpec) -> ContainerStatus:
        if spec.argv == ("batch",):
            await asyncio.sleep(2.0)
        return await super().create(spec)


@in_virtual_time
async def test_what_gives_way_is_just_being_started(tmp_path: Path) -> None:
    async with one_node(tmp_path) as world:
        await world.kill_agent("n1")
        world.start_agent("n1", SlowRuntime(world.machines["n1"].host))
        await assign(world, BATCH)
        await world.until(lambda: seen(world, BATCH).status is Status.PENDING)
        await assign(world, STOPPED, API)
        await until_it_waits(world)
        assert starts_as_soon_as_it_may(await api_running(world), container(world, BATCH))


@in_virtual_time
async def test_a_row_that_cannot_be_read_gives_no_way_until_it_is_gone(tmp_path: Path) -> None:
    async with one_node(tmp_path) as world:
        await write(world, PutOp(key(world, BATCH), b"{"))
        await assign(world, API)
        await until_it_waits(world)
        await write(world, DeleteOp(key(world, BATCH)))
        await api_running(world)


@in_virtual_time
async def test_nobody_waits_for_what_has_never_been_here(tmp_path: Path) -> None:
    async with batch_running(tmp_path) as (world, batch):
        await assign(world, replace(API, after=("default.batch.7.1",)))
        await api_running(world)
        assert batch.status.finished_at is None


@in_virtual_time
async def test_a_row_that_names_nobody_to_wait_for_is_left_alone_until_it_is_repaired(
    tmp_path: Path,
) -> None:
    async with batch_running(tmp_path) as (world, _):
        await assign(world, replace(API, after=("batch",)))
        await assign(world, STOPPED)
        await world.until(lambda: seen(world, BATCH).status is Status.SUCCEEDED)
        assert seen(world, API).status is Status.UNKNOWN
        await assign(world, API)
        await api_running(world)
