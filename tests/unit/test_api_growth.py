"""While the store is nearly full: what may still be asked for, and what is not told any more."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from orchestrator.api.errors import NoRoom
from orchestrator.api.problems import problem_of
from orchestrator.api.writer import DesiredWriter, Terms
from orchestrator.model.answers import Outcome
from orchestrator.model.errors import WorkloadNotFound
from orchestrator.model.keys import Kind
from orchestrator.simulation.samples import web
from orchestrator.simulation.virtual_time import in_virtual_time
from store.values import RangeOp, prefix_end
from tests.support.office import KEYS, Office, office

FULL = "etcd is 93% full"


class Guarded:
    """A writer on a store that is nearly full as soon as somebody says so."""

    def __init__(self, desk: Office) -> None:
        self.why_not = ""
        self.writer = DesiredWriter(
            desk.view, desk.events, rng=random.Random(1), why_not_grow=lambda: self.why_not
        )


@asynccontextmanager
async def guarded(replicas: int) -> AsyncIterator[tuple[Office, Guarded]]:
    async with office() as desk:
        made = Guarded(desk)
        written = await made.writer.apply(web(replicas))
        await desk.view.reached(written.revision)
        made.why_not = FULL
        yield desk, made


@in_virtual_time
async def test_more_is_refused_and_changes_nothing() -> None:
    async with guarded(2) as (desk, made):
        before = desk.view.revision
        template = replace(web(2), labels={"tier": "front"})
        for asked in (web(1, name="new"), web(3), template):
            with pytest.raises(NoRoom, match="nothing was changed: etcd is 93% full"):
                await made.writer.apply(asked)
            with pytest.raises(NoRoom):
                await made.writer.apply(asked, Terms(is_dry_run=True))
        with pytest.raises(NoRoom):
            await made.writer.scale(web().key, 3)
        newest = (await desk.people.range(RangeOp("any"))).header.revision
        assert newest == before


@in_virtual_time
async def test_less_and_the_same_are_taken() -> None:
    async with guarded(3) as (_, made):
        assert (await made.writer.apply(web(3))).outcome is Outcome.UNCHANGED
        assert (await made.writer.scale(web().key, 2)).outcome is Outcome.CONFIGURED
        assert (await made.writer.apply(web(1))).outcome is Outcome.CONFIGURED
        assert (await made.writer.delete(web().key)).outcome is Outcome.DELETED
        with pytest.raises(WorkloadNotFound):
            await made.writer.scale(web().key, 1)


def test_a_client_is_told_that_there_is_no_room() -> None:
    told = problem_of(NoRoom(f"nothing was changed: {FULL}"))
    assert (told.status, told.title) == (507, "No room")
    assert told.detail == f"nothing was changed: {FULL}"


@in_virtual_time
async def test_a_leader_without_room_acts_without_telling() -> None:
    folder = KEYS.folder(Kind.EVENT)
    async with office() as desk:
        desk.events.is_thinned = lambda: True
        await desk.apply(web(2))
        report = await desk.committer.carry_out(desk.plan(), desk.view.state)
        assert report.committed
        await desk.assigned(2)
        assert not (await desk.people.range(RangeOp(folder, prefix_end(folder)))).kvs
