"""The committer on a store that answers late, and whose rows people edit meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.model.actions import Change, Place, Plan
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.planning.plan import MAX_PART_OPS
from store.memory.meanness import Trip
from store.transactions import MAX_BYTES
from store.values import KeyValue, RangeOp, prefix_end
from tests.support.office import KEYS, Office, office
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time


async def events(desk: Office) -> Sequence[KeyValue]:
    folder = KEYS.folder(Kind.EVENT)
    return (await desk.people.range(RangeOp(folder, prefix_end(folder)))).kvs


@in_virtual_time
async def test_what_a_person_changes_between_plan_and_commit_is_not_acted_on() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(3))
        made = desk.plan()
        desk.link.luck.arrange(Trip(request_seconds=1.0))  # the events' lease
        committing = asyncio.create_task(desk.committer.carry_out(made, desk.view.state))
        await asyncio.sleep(0.5)
        await desk.apply(web(1))
        report = await committing
        assert report.committed == 0
        assert [conflict.keys for conflict, _ in report.conflicts] == [(KEYS.workload(web().key),)]


@in_virtual_time
async def test_a_row_that_vanishes_between_plan_and_commit_is_a_conflict_and_no_crash() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(2))
        await desk.committer.carry_out(desk.plan(), desk.view.state)
        await desk.assigned(3)
        await desk.apply(web(0, name="another"))
        await desk.apply(web(0))
        made = desk.plan()
        desk.events.forget_lease()
        desk.link.luck.arrange(Trip(request_seconds=1.0))
        committing = asyncio.create_task(desk.committer.carry_out(made, desk.view.state))
        await asyncio.sleep(0.5)
        row = KEYS.assignment(InstancePlace("n1", InstanceName("default", "web", 0, 1)))
        await desk.delete(row)
        await desk.assigned(2)
        report = await committing
        assert [conflict.keys for conflict, _ in report.conflicts] == [(row,)]


@in_virtual_time
async def test_a_lease_of_events_that_has_ended_is_granted_anew() -> None:
    async with office() as desk:
        await desk.apply(web(1))
        await desk.committer.carry_out(desk.plan(), desk.view.state)
        await desk.assigned(1)
        event, *_ = await events(desk)
        await desk.people.revoke_lease(event.lease)
        await desk.apply(web(2))
        refused = await desk.committer.carry_out(desk.plan(), desk.view.state)
        assert refused.committed == 0
        await desk.committer.carry_out(desk.plan(), desk.view.state)
        await desk.assigned(2)


async def stand_in_the_way(desk: Office, change: Change) -> None:
    """Somebody has written what the change would create."""
    action = change.actions[0]
    assert isinstance(action, Place)
    await desk.put(KEYS.assignment(action.place), action.assignment)


LARGE = 2 * MAX_PART_OPS + 1


@in_virtual_time
async def test_later_parts_of_a_workload_wait_for_its_earlier_ones() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(LARGE))
        made = desk.plan()
        await stand_in_the_way(desk, made.changes[1])
        together = await desk.committer.carry_out(made, desk.view.state)
        assert together.committed == 0
        one_by_one = await desk.committer.carry_out(made, desk.view.state)
        assert one_by_one.committed == 1
        assert one_by_one.open_workloads == {web().key}
        await desk.view.reached(one_by_one.revision)
        assert len(desk.view.state.assignments) == 2


@pytest.mark.parametrize("is_cautious", [False, True])
@in_virtual_time
async def test_a_workload_is_open_until_its_last_part_is_committed(is_cautious: bool) -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(LARGE))
        made = desk.plan()
        if is_cautious:
            await stand_in_the_way(desk, made.changes[0])
            await desk.committer.carry_out(Plan(made.changes[:1]), desk.view.state)
        await stand_in_the_way(desk, made.changes[2])
        report = await desk.committer.carry_out(Plan(made.changes[1:]), desk.view.state)
        assert report.committed == 1
        assert report.open_workloads == {web().key}


@in_virtual_time
async def test_who_is_through_in_the_first_round_is_not_open_when_the_second_fails() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(LARGE))
        made = desk.plan()
        await stand_in_the_way(desk, made.changes[2])
        report = await desk.committer.carry_out(made, desk.view.state)
        assert report.open_workloads == {web().key}


@in_virtual_time
async def test_an_event_is_told_though_the_lease_of_events_has_ended() -> None:
    async with office() as desk:
        await desk.committer.tell("NodeJoined", "n1", "its session has begun")
        for event in await events(desk):
            await desk.people.revoke_lease(event.lease)
        await desk.committer.tell("NodeUnreachable", "n1", "its session has ended")
        assert [b"NodeUnreachable" in event.value for event in await events(desk)] == [True]


@in_virtual_time
async def test_a_change_that_fits_no_transaction_holds_up_no_other_workload() -> None:
    async with office() as desk:
        await desk.apply(web(1))
        await desk.apply(web(1, name="unfit"))
        fit, unfit = sorted(desk.plan().changes, key=lambda change: change.workload != web().key)
        assert unfit.status
        huge = replace(unfit, status=replace(unfit.status, waiting=("x" * MAX_BYTES,)))
        made = Plan((huge, fit))
        await desk.committer.carry_out(made, desk.view.state)
        report = await desk.committer.carry_out(made, desk.view.state)
        assert report.put_off == {unfit.workload}
        await desk.assigned(1)
