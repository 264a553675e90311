"""The committer on a store that answers late, and whose rows people edit meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from orchestrator.model.actions import Plan
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace, Kind
from store.memory.meanness import Trip
from store.transactions import MAX_BYTES
from store.values import RangeOp, prefix_end
from tests.support.office import KEYS, office
from tests.support.planned_cluster import web
from tests.support.virtual_time import in_virtual_time


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
        folder = KEYS.folder(Kind.EVENT)
        event, *_ = (await desk.people.range(RangeOp(folder, prefix_end(folder)))).kvs
        await desk.people.revoke_lease(event.lease)
        await desk.apply(web(2))
        refused = await desk.committer.carry_out(desk.plan(), desk.view.state)
        assert refused.committed == 0
        await desk.committer.carry_out(desk.plan(), desk.view.state)
        await desk.assigned(2)


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
