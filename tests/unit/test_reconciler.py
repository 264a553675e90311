"""The reconciler: when it looks, how much at a time, and what makes it stop and go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.controller.committer import LeadershipLost
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.reconciler import SLICE, Reconciler, ReconcileSettings
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.scheduler.protocol import NodeSnapshot, ScheduleDecision, ScheduleRequest
from orchestrator.scheduler.spread import SpreadScheduler
from store.memory.meanness import LOST_REPLY, Meanness, Trip, late
from tests.support.office import PATIENCE_SECONDS, Office, office
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time

LARGE = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(memory_mb=9000))


class CountingScheduler(SpreadScheduler):
    def __init__(self) -> None:
        self.calls: list[int] = []

    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeSnapshot]
    ) -> list[ScheduleDecision]:
        self.calls.append(len({request.instance.workload for request in requests}))
        return super().schedule(requests, nodes)


@asynccontextmanager
async def leading(
    desk: Office, may_dispatch: Callable[[], bool] = lambda: True
) -> AsyncIterator[CountingScheduler]:
    scheduler = CountingScheduler()
    reconciler = Reconciler(
        desk.view,
        scheduler,
        desk.committer,
        LeaderMetrics(CollectorRegistry()),
        may_dispatch=may_dispatch,
        settings=ReconcileSettings(),
    )
    task = asyncio.create_task(reconciler.run())
    try:
        yield scheduler
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@in_virtual_time
async def test_many_workloads_are_planned_in_slices_and_all_get_their_turn() -> None:
    async with office() as desk:
        for index in range(2 * SLICE + 1):
            await desk.apply(web(1, name=f"w{index}"))
        async with leading(desk) as scheduler:
            await desk.assigned(2 * SLICE + 1)
        assert scheduler.calls[:3] == [SLICE, SLICE, 1]


@in_virtual_time
async def test_what_fits_nowhere_holds_up_nobody_and_is_no_busy_loop() -> None:
    async with office() as desk:
        for index in range(2 * SLICE):
            await desk.apply(web(1, name=f"a{index}", containers=(LARGE,)))
        await desk.apply(web(1))
        async with leading(desk) as scheduler:
            await desk.assigned(1)
            await asyncio.sleep(10.0)
            calls = len(scheduler.calls)
            await asyncio.sleep(10.0)
            assert len(scheduler.calls) == calls


@in_virtual_time
async def test_nothing_is_dispatched_without_trust_and_all_of_it_when_trust_is_back() -> None:
    async with office() as desk:
        is_trusted = False
        async with leading(desk, lambda: is_trusted):
            await desk.apply(web(2))
            await asyncio.sleep(60.0)
            assert not desk.view.state.assignments
            is_trusted = True
            await asyncio.wait_for(desk.assigned(2), 1.0)


@pytest.mark.parametrize("last_copy", [LOST_REPLY, late(PATIENCE_SECONDS)])
@in_virtual_time
async def test_after_an_unknown_outcome_it_looks_again_and_does_nothing_twice(
    last_copy: Trip,
) -> None:
    async with office() as desk:
        async with leading(desk):
            await desk.apply(web(1))
            await desk.assigned(1)
            desk.link.luck.arrange(*[last_copy] * 50)
            await desk.apply(web(3))
            await asyncio.sleep(3 * PATIENCE_SECONDS)
            await asyncio.wait_for(desk.assigned(3), 1.0)
        names = sorted(place.instance for place in desk.view.state.assignments)
        assert [(name.slot, name.attempt) for name in names] == [(0, 1), (1, 1), (2, 1)]


@in_virtual_time
async def test_who_does_not_see_his_own_writes_gives_up_leading() -> None:
    async with office() as desk:
        with pytest.raises(LeadershipLost, match="leading blindly"):
            await lead_blindly(desk)


async def lead_blindly(desk: Office) -> None:
    async with leading(desk):
        await desk.apply(web(1))
        await desk.assigned(1)
        desk.link.luck.arrange(Trip(request_seconds=1.0))
        await desk.apply(web(2))
        await asyncio.sleep(0.5)
        desk.link.luck.meanness = Meanness(watch_seconds=(60.0, 60.0))
        await asyncio.sleep(30.0)
