"""The committer on a store that answers late, and whose rows people edit meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.controller.committer import IN_FLIGHT, LeadershipLost
from orchestrator.model.actions import Change, Place, Plan
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, Kind
from orchestrator.planning.plan import MAX_PART_OPS
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.memory.meanness import Meanness, Trip
from store.transactions import MAX_BYTES
from store.values import KeyValue, RangeOp, prefix_end
from tests.support.office import KEYS, Office, office


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


WIDE = 70
"""Replicas of which those of two workloads do not fit into one transaction."""


async def apply_wide(desk: Office, count: int) -> Plan:
    """Workloads that take a transaction each; the first event's lease is there already."""
    await desk.committer.tell("NodeJoined", "n1", "its session has begun")
    for index in range(count):
        await desk.apply(web(WIDE, name=f"w{index:02}"))
    return desk.plan()


def slow_down(desk: Office) -> None:
    """Each of the leader's requests takes a second from now on."""
    desk.memory.treat(Meanness(request_seconds=(1.0, 1.0)), "leader")


@in_virtual_time
async def test_transactions_of_different_workloads_are_under_way_at_once() -> None:
    async with office() as desk:
        made = await apply_wide(desk, 2 * IN_FLIGHT)
        slow_down(desk)
        started = virtual_now()
        report = await desk.committer.carry_out(made, desk.view.state)
        assert (report.committed, report.open_workloads) == (2 * IN_FLIGHT, set())
        assert virtual_now() - started == 2.0
        await desk.view.reached(report.revision)
        assert len(desk.view.state.assignments) == 2 * IN_FLIGHT * WIDE


@in_virtual_time
async def test_after_a_conflict_none_is_begun_but_those_under_way_are_awaited() -> None:
    async with office() as desk:
        made = await apply_wide(desk, 4 * IN_FLIGHT)
        await stand_in_the_way(desk, made.changes[0])
        slow_down(desk)
        report = await desk.committer.carry_out(made, desk.view.state)
        begun_before_it_is_known = 2 * (IN_FLIGHT - 1)  # it takes one request, and one to ask why
        assert report.committed == begun_before_it_is_known
        assert len(report.conflicts) == 1
        assert report.open_workloads == {change.workload for change in made.changes}
        await desk.view.reached(report.revision)
        assert len(desk.view.state.statuses) == begun_before_it_is_known


@in_virtual_time
async def test_one_of_many_that_meets_a_newer_leader_ends_the_term() -> None:
    async with office() as desk:
        made = await apply_wide(desk, 2 * IN_FLIGHT)
        await desk.delete(KEYS.leader)
        slow_down(desk)
        with pytest.raises(LeadershipLost, match="another replica leads"):
            await desk.committer.carry_out(made, desk.view.state)
        assert not (await desk.people.range(RangeOp(KEYS.folder(Kind.ASSIGNMENT)))).kvs


@in_virtual_time
async def test_what_only_makes_sense_together_is_one_transaction_after_the_changes() -> None:
    async with office() as desk:
        for name in ("a", "b", "c"):
            await desk.apply(web(1, name=name))
        a, b, c = desk.plan().changes
        report = await desk.committer.carry_out(Plan((a,), together=((b, c),)), desk.view.state)
        assert (report.committed, report.open_workloads) == (2, set())
        await desk.view.reached(report.revision)
        first, second, third = (
            desk.view.state.statuses[change.workload].mod_revision for change in (a, b, c)
        )
        assert first < second == third


@pytest.mark.parametrize("is_cautious", [False, True])
@in_virtual_time
async def test_of_what_only_makes_sense_together_none_happens_alone(is_cautious: bool) -> None:
    async with office() as desk:
        for name in ("a", "b", "c"):
            await desk.apply(web(1, name=name))
        a, b, c = desk.plan().changes
        await stand_in_the_way(desk, c)
        if is_cautious:
            await desk.committer.carry_out(Plan((c,)), desk.view.state)
        made = Plan((a,), together=((b, c),))
        report = await desk.committer.carry_out(made, desk.view.state)
        assert (report.committed, report.open_workloads) == (1, {b.workload, c.workload})
        await desk.view.reached(report.revision)
        assert set(desk.view.state.statuses) == {a.workload}


@in_virtual_time
async def test_later_units_build_on_what_earlier_ones_have_written() -> None:
    async with office() as desk:
        await desk.apply(web(1, name="another"))
        await desk.apply(web(LARGE))
        another, *parts = desk.plan().changes
        made = Plan((parts[0],), together=((another, parts[1]), (parts[2],)))
        report = await desk.committer.carry_out(made, desk.view.state)
        assert (report.committed, report.conflicts) == (3, [])
        await desk.assigned(LARGE + 1)
