"""The reconciler: when it looks, how much at a time, and what makes it stop and go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.cluster.view import News
from orchestrator.controller.committer import LeadershipLost
from orchestrator.controller.metrics import LeaderMetrics
from orchestrator.controller.reconciler import Reconciler, ReconcileSettings
from orchestrator.controller.turns import SLICE
from orchestrator.model.explanation import Explanation
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.node import DesiredNode, NodeReport, NodeSession
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.scheduler.protocol import ScheduleDecision, ScheduleRequest
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from store.memory.meanness import LOST_REPLY, Meanness, Trip, late
from tests.support.office import KEYS, PATIENCE_SECONDS, Office, office

LARGE = ContainerConfig("app", command=("serve",), resource_requests=NodeResources(memory_mb=9000))


THREE_GB = ContainerConfig(
    "app", command=("serve",), resource_requests=NodeResources(memory_mb=3000)
)


class CountingScheduler:
    """`turns` tells whether anybody else runs between two calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.turns: list[str] = []

    def schedule(
        self, requests: Sequence[ScheduleRequest], snapshot: Snapshot
    ) -> list[ScheduleDecision]:
        self.calls.append(len({request.instance.workload for request in requests}))
        self.turns.append("a slice")
        asyncio.get_running_loop().call_soon(self.turns.append, "others")
        return VectorScheduler().schedule(requests, snapshot)

    def explain(self, request: ScheduleRequest, snapshot: Snapshot) -> Explanation:
        return VectorScheduler().explain(request, snapshot)


class DeafReconciler(Reconciler):
    """No news of what changes reaches it."""

    def look_again(self, news: News) -> None:
        pass


@asynccontextmanager
async def leading(
    desk: Office,
    may_dispatch: Callable[[], bool] = lambda: True,
    kind: type[Reconciler] = Reconciler,
) -> AsyncIterator[CountingScheduler]:
    scheduler = CountingScheduler()
    reconciler = kind(
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


@pytest.mark.slow
@in_virtual_time
async def test_slices_that_change_nothing_let_others_run_in_between() -> None:
    async with office() as desk:
        for index in range(3 * SLICE):
            await desk.apply(web(1, name=f"w{index}", containers=(LARGE,)))
        async with leading(desk) as scheduler:
            await asyncio.sleep(10.0)
            scheduler.turns.clear()
            await desk.put(KEYS.desired_node("n1"), DesiredNode())
            await asyncio.sleep(1.0)
            assert scheduler.turns == ["a slice", "others"] * 3


@in_virtual_time
async def test_what_waits_for_room_is_tried_again_when_there_may_be_some_and_not_before() -> None:
    async with office() as desk:
        async with leading(desk) as scheduler:
            first, second = (web(1, name=name, containers=(THREE_GB,)) for name in ("a", "b"))
            await desk.apply(first)
            await desk.apply(second)
            await desk.assigned(1)
            await asyncio.sleep(1.0)
            scheduler.calls.clear()
            await desk.report(WorkloadInstanceStatus.RUNNING)
            await asyncio.sleep(1.0)  # else a commit may be under way, whose failure leaves room
            await desk.apply(replace(first, replicas=0))
            await asyncio.sleep(1.0)
            assert scheduler.calls == []
            await desk.report(WorkloadInstanceStatus.SUCCEEDED)
            await asyncio.sleep(1.0)
        assert [place.instance.workload for place in desk.view.state.assignments] == ["b"]


@in_virtual_time
async def test_room_that_a_failed_commit_leaves_goes_to_the_next_who_waits_for_it() -> None:
    async with office() as desk, leading(desk):
        there, next_one, last = (web(1, name=name, containers=(THREE_GB,)) for name in "abc")
        await desk.apply(there)
        await desk.assigned(1)
        await desk.apply(next_one)
        await desk.apply(last)
        await asyncio.sleep(1.0)
        await desk.delete(KEYS.workload(there.key))
        await asyncio.sleep(1.0)
        desk.link.luck.arrange(Trip(request_seconds=1.0))
        (place,) = desk.view.state.assignments
        await desk.delete(KEYS.assignment(place))
        await asyncio.sleep(0.5)
        await desk.delete(KEYS.workload(next_one.key))
        await asyncio.sleep(5.0)
        assert [place.instance.workload for place in desk.view.state.assignments] == ["c"]


async def join(desk: Office, node: str) -> None:
    has = NodeResources(cpu_cores=4, memory_mb=4000)
    await desk.put(KEYS.session(node), NodeSession(node))
    await desk.view.reached(await desk.put(KEYS.node_report(node), NodeReport("", has, has)))


@asynccontextmanager
async def vanishing_before_the_commit(desk: Office, *keys: str) -> AsyncIterator[None]:
    """a and b need a node each, c needs little; b is meant for n2, of which these rows go while
    the plan is on its way to the store."""
    await join(desk, "n2")
    for name in "ab":
        await desk.apply(web(1, name=name, containers=(THREE_GB,), lost_after_seconds=10.0))
    await desk.apply(web(1, name="c"))
    desk.link.luck.arrange(Trip(request_seconds=1.0))
    async with leading(desk):
        await asyncio.sleep(0.5)
        assert not desk.view.state.assignments
        for key in keys:
            await desk.delete(key)
        await asyncio.sleep(5.0)
        yield


def placed(desk: Office) -> list[str]:
    places = desk.view.state.assignments
    return sorted(f"{each.instance.workload} on {each.node}" for each in places)


def waiting(desk: Office, name: str) -> str:
    return " ".join(desk.view.state.statuses[web(name=name).key].record.waiting)


@in_virtual_time
async def test_what_is_meant_for_a_node_that_is_removed_before_the_commit_is_placed_anew() -> None:
    async with office() as desk:
        rows = (KEYS.session("n2"), KEYS.node_report("n2"))
        async with vanishing_before_the_commit(desk, *rows):
            assert placed(desk) == ["a on n1", "c on n1"]
            assert "none of 1 node fits: 1 lacks 3000 MB of memory" in waiting(desk, "b")
            assert desk.view.state.statuses[web(name="b").key].record.attempt_floor == 1
            await join(desk, "n3")
            await desk.assigned(3)
            assert placed(desk) == ["a on n1", "b on n3", "c on n1"]


@in_virtual_time
async def test_what_is_meant_for_a_node_that_falls_silent_before_the_commit_is_replaced() -> None:
    """Its agent may have seen the assignment before it was cut off: nothing shall run twice."""
    async with office() as desk, vanishing_before_the_commit(desk, KEYS.session("n2")):
        assert placed(desk) == ["a on n1", "b on n2", "c on n1"]
        assert "replaced when node n2 has been unreachable for 10 s" in waiting(desk, "b")
        await join(desk, "n3")
        await desk.assigned(4)
        assert placed(desk) == ["a on n1", "b on n2", "b on n3", "c on n1"]


@in_virtual_time
async def test_what_nobody_told_it_of_is_found_by_the_periodic_full_pass() -> None:
    async with office() as desk, leading(desk, kind=DeafReconciler):
        await asyncio.sleep(1.0)
        await desk.apply(web(1))
        await asyncio.sleep(1.0)
        assert not desk.view.state.assignments
        await asyncio.wait_for(desk.assigned(1), 30.0)


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
