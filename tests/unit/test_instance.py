"""Instances: their names, and a life that only moves forward."""

from __future__ import annotations

import pytest

from orchestrator.model.actions import Place
from orchestrator.model.errors import StateError
from orchestrator.model.instance import (
    NEXT,
    Assignment,
    InstanceName,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey

Status = WorkloadInstanceStatus


def test_a_name_tells_workload_slot_and_attempt() -> None:
    name = InstanceName("default", "web", 2, 7)
    assert str(name) == "default.web.2.7"
    assert InstanceName.parse("default.web.2.7") == name
    assert name.workload_key == WorkloadKey("default", "web")
    assert Assignment("default", "web", 1, 2, 7, Wanted.RUNNING, "scaled up").name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        "default.web.2",
        "default.web.2.",
        "default.web.2.7.1",
        "default.web.x.7",
        "default.web.2.-7",
        "default.web.2.07",
        "default.web.²2.7",
        "default.web.2.7\n",
        "default.web.2.1234567890",
    ],
)
def test_anything_else_is_no_name(text: str) -> None:
    with pytest.raises(StateError, match=r"must be <namespace>\.<workload>\.<slot>\.<attempt>"):
        InstanceName.parse(text)


def reachable(status: Status) -> set[Status]:
    found: set[Status] = set()
    ahead = set(NEXT[status])
    while ahead:
        step = ahead.pop()
        if step not in found:
            found.add(step)
            ahead |= NEXT[step]
    return found


def test_nobody_writes_unknown_and_every_other_status_is_in_the_table() -> None:
    assert set(NEXT) == set(Status) - {Status.UNKNOWN}
    assert all(Status.UNKNOWN not in following for following in NEXT.values())


@pytest.mark.parametrize("status", NEXT)
def test_no_status_is_ever_taken_twice(status: Status) -> None:
    assert status not in reachable(status)


@pytest.mark.parametrize("status", NEXT)
def test_every_life_can_end_and_only_the_end_is_the_end(status: Status) -> None:
    assert status.is_finished == (not NEXT[status])
    assert status.is_finished or {Status.SUCCEEDED, Status.FAILED} <= reachable(status)


def test_how_long_it_lived_is_told_by_its_own_clock_only() -> None:
    assert InstanceObservation(Status.PENDING).lived_seconds == 0.0
    assert InstanceObservation(Status.RUNNING, started_at=5.0).lived_seconds == 0.0
    ended = InstanceObservation(Status.FAILED, started_at=5.0, finished_at=7.5)
    assert ended.lived_seconds == 2.5
    clock_set_back = InstanceObservation(Status.FAILED, started_at=5.0, finished_at=4.0)
    assert clock_set_back.lived_seconds == 0.0


def test_a_placement_gives_its_assignments_reason() -> None:
    assignment = Assignment("default", "web", 1, 2, 7, Wanted.RUNNING, "scaled up")
    assert Place(InstancePlace("node-1", assignment.name), assignment).reason == "scaled up"
