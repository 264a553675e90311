"""What a node does and says while nobody can be told: pure decisions, and what it keeps on disk."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.agent.contact import Contact, Standing
from orchestrator.agent.home import AgentHome
from orchestrator.agent.residents import FILE, Resident, Residents
from orchestrator.agent.restarts import LocalRestarts
from orchestrator.agent.steps import Clear, Restart, StopAll, next_step, observe, past_exit
from orchestrator.model.instance import ExitCause, FenceTerms, PastExit
from orchestrator.model.workload import RestartPolicy
from store.memory.cluster import MemoryCluster
from store.patience import Patience
from store.session import Session
from tests.unit.test_agent_steps import (
    REVISION,
    RUN,
    STOP,
    Status,
    container,
    exited,
    said,
    situation,
)

NONE, DOUBTFUL = Contact.NONE, Contact.DOUBTFUL
RAN = said(Status.RUNNING)
EXIT = PastExit("app", "exited with code 1", 1, 2.0)
DUE = LocalRestarts(failures=1, due_at=5.0, exits=(EXIT,))
FRESH = LocalRestarts()
CUT_OFF = {"reported": RAN, "contact": NONE, "now": 6.0}


def test_what_has_crashed_is_restarted_when_it_is_due() -> None:
    early = situation(RUN, exited(), **CUT_OFF, restarts=replace(DUE, due_at=7.0, delay_seconds=9))
    assert next_step(early) is None
    assert next_step(situation(RUN, exited(), **CUT_OFF, restarts=DUE)) == Restart()


def test_its_end_is_not_said() -> None:
    observation = observe(situation(RUN, exited(), **CUT_OFF, restarts=DUE))
    assert observation
    assert observation.status is Status.RUNNING
    assert observation.reason == "exited with code 1; its node is cut off, and restarts it"


def test_an_agent_without_any_word_of_the_store_leaves_alone_what_must_not_run_twice() -> None:
    waiting = replace(RUN, waits=True)
    never = {**CUT_OFF, "contact": Contact.NEVER}
    assert next_step(situation(waiting, exited(), **never, restarts=DUE)) is None
    assert next_step(situation(RUN, exited(), **never, restarts=DUE)) == Restart()
    assert next_step(situation(waiting, exited(), **CUT_OFF, restarts=DUE)) == Restart()
    observation = observe(situation(waiting, exited(), **never, restarts=DUE))
    assert observation
    assert observation.status is Status.RUNNING
    assert observation.reason == (
        "exited with code 1; its node is cut off, and starts it only when the store is heard of: "
        "on_node_lost is `wait`"
    )


def test_in_doubt_nothing_is_said_and_nothing_is_done() -> None:
    now = situation(RUN, exited(), **{**CUT_OFF, "contact": DOUBTFUL}, restarts=DUE)
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert observation.status is Status.RUNNING


def test_with_the_store_back_the_leader_is_told() -> None:
    now = situation(RUN, exited(), reported=RAN, restarts=replace(DUE, count=2))
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert (observation.status, observation.cause) == (Status.FAILED, ExitCause.EXITED)
    assert (observation.restarts, observation.exits) == (2, (EXIT,))


def test_the_siblings_of_what_has_crashed_are_stopped_first() -> None:
    both = (container("a", siblings=2), exited("b", siblings=2))
    now = situation(RUN, *both, **CUT_OFF, restarts=DUE)
    assert next_step(now) == StopAll(("default.web.0.1.a",))
    observation = observe(now)
    assert observation
    assert observation.status is Status.RUNNING


def test_a_restart_that_was_interrupted_is_begun_again() -> None:
    assert next_step(situation(RUN, **CUT_OFF, restarts=DUE)) == Restart()
    half = situation(RUN, exited("a", siblings=2), **CUT_OFF, restarts=DUE)
    assert next_step(half) == Restart()


@pytest.mark.parametrize(
    "changes",
    [
        {"reported": said(Status.FAILED)},
        {"reported": said(Status.PENDING)},
        {"restarts": None},
        {"start_failure": "no such image"},
        {"is_shutting_down": True},
        {"is_fenced": True},
        {"contact": Contact.SURE},
    ],
)
def test_nobody_else_is_restarted(changes: dict[str, object]) -> None:
    now = situation(RUN, exited(), **{**CUT_OFF, "restarts": DUE, **changes})
    assert next_step(now) is None


def test_what_the_leader_has_given_up_is_not_restarted() -> None:
    assert next_step(situation(STOP, exited(), **CUT_OFF, restarts=DUE)) is None
    assert next_step(situation(None, exited(), contact=NONE)) == Clear(("default.web.0.1.app",))


def test_what_must_not_run_any_more_is_stopped_and_told_as_that() -> None:
    fenced = replace(RUN, fence=FenceTerms(30.0, 10.0))
    runs = situation(fenced, container(), **CUT_OFF, restarts=FRESH, is_fenced=True)
    assert next_step(runs) == StopAll(("default.web.0.1.app",))
    over = situation(fenced, exited(code=143), **CUT_OFF, restarts=FRESH, is_fenced=True)
    observation = observe(over)
    assert observation
    assert (observation.status, observation.cause) == (Status.FAILED, ExitCause.FENCED)
    assert "was cut off for 30 s" in observation.reason
    assert next_step(situation(fenced, is_fenced=True, contact=NONE)) is None


def test_how_it_ended_is_told_by_the_first_that_ended() -> None:
    ends = (exited("a", 143, siblings=2, finished_at=9.0), exited("b", 3, siblings=2))
    told, lived_seconds = past_exit(situation(RUN, *ends))
    assert (told.container, told.exit_code) == ("b", 3)
    assert lived_seconds == 8.0
    told, _ = past_exit(situation(RUN))
    assert told.reason == "its containers have vanished from the node"


def test_the_back_off_is_the_planners() -> None:
    policy = RestartPolicy(backoff_seconds=10.0, max_backoff_seconds=15.0, reset_after_seconds=600)
    assignment = replace(RUN, restart=policy, failures=1)
    first = FRESH.ended(assignment, EXIT, 1.0, 100.0)
    assert (first.failures, first.due_at) == (2, 110.0)
    second = first.begun().ended(assignment, EXIT, 1.0, 200.0)
    assert (second.count, second.failures, second.due_at) == (1, 3, 215.0)
    lasting = second.begun().ended(assignment, EXIT, 600.0, 900.0)
    assert (lasting.failures, lasting.due_at) == (1, 900.0)


def test_a_wait_that_a_boot_has_made_meaningless_is_over() -> None:
    waiting = replace(FRESH, due_at=5000.0, delay_seconds=10.0)
    assert waiting.is_due(3.0)
    assert not waiting.is_due(4995.0)
    assert waiting.is_due(5000.0)
    assert not FRESH.is_due(5000.0)


# On disk


def home_at(path: Path) -> AgentHome:
    return AgentHome(path, random.Random(1))


def resident(restarts: LocalRestarts = FRESH) -> Resident:
    return Resident(RUN, REVISION, RAN, (container().spec,), restarts)


async def test_residents_are_found_again(tmp_path: Path) -> None:
    with home_at(tmp_path) as home:
        residents = Residents(home)
        residents.keep(resident(DUE))
        await residents.save()
        found = Residents(home)
        found.load()
        assert found.by_name == {RUN.name: resident(DUE)}
        assert found.find(RUN.name, REVISION + 1) is None


async def test_residents_of_another_store_are_nobody(tmp_path: Path) -> None:
    with home_at(tmp_path) as home:
        await home.check_store(1, 10, "one", accept=False)
        residents = Residents(home)
        residents.keep(resident())
        await residents.save()
        await home.check_store(2, 10, "two", accept=True)
        found = Residents(home)
        found.load()
        assert found.by_name == {}


@pytest.mark.parametrize("damage", [b"{", b"{}\n{}", b"\xff\xfe", b"[]\n", b"{}\nnull"])
def test_damage_is_passed_over(tmp_path: Path, damage: bytes) -> None:
    with home_at(tmp_path) as home:
        (tmp_path / FILE).write_bytes(damage)
        found = Residents(home)
        found.load()
        assert found.by_name == {}


async def test_a_list_that_cannot_be_written_is_deleted(tmp_path: Path) -> None:
    with home_at(tmp_path) as home:
        residents = Residents(home)
        residents.keep(resident())
        await residents.save()
        (tmp_path / f"{FILE}.new").mkdir()  # nothing can be written under that name now
        residents.drop(RUN.name)
        await residents.save()
        assert not (tmp_path / FILE).exists()


async def test_what_cannot_be_written_harms_no_other(tmp_path: Path) -> None:
    with home_at(tmp_path) as home:
        residents = Residents(home)
        broken = replace(RUN, slot=1, reason="\udcff")
        residents.keep(replace(resident(), assignment=broken))
        residents.keep(resident())
        await residents.save()
        assert set(residents.by_name) == {RUN.name, broken.name}
        found = Residents(home)
        found.load()
        assert set(found.by_name) == {RUN.name}


# Contact


async def test_an_agent_that_has_heard_nothing_for_a_third_of_a_lease_is_cut_off() -> None:
    now = [100.0]
    standing = Standing(lambda: now[0], 9.0)
    now[0] = 103.0
    assert standing.contact is Contact.NEVER


async def test_contact_is_lost_by_time_alone() -> None:
    now = [100.0]

    def clock() -> float:
        return now[0]

    standing = Standing(clock, 9.0)
    assert standing.contact is DOUBTFUL
    assert standing.trusted_until() is None
    store = MemoryCluster(clock, random.Random(1)).connect("a")
    session = Session(store, ttl_seconds=9, clock=clock, rng=random.Random(1))
    await session.open(Patience(clock, random.Random(1), limit_seconds=1.0))
    standing.begin(session)
    assert standing.contact is Contact.SURE
    assert standing.trusted_until() == 109.0
    now[0] = 106.5
    assert standing.contact is DOUBTFUL
    now[0] = 109.0
    assert standing.contact is NONE
    now[0] = 104.0
    standing.give_up()
    assert standing.trusted_until() == 104.0
