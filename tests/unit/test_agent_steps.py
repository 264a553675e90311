"""What an agent does next for one instance, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.agent.steps import (
    Clear,
    Situation,
    Start,
    StopAll,
    has_ended,
    next_step,
    observe,
)
from orchestrator.model.instance import (
    Assignment,
    ExitCause,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerState,
    ContainerStatus,
    Isolation,
)

Status = WorkloadInstanceStatus
RUN = Assignment("default", "web", 1, 0, 1, Wanted.RUNNING, "wanted")
STOP = replace(RUN, wanted=Wanted.STOPPED, reason="scaled from 2 to 1")
REVISION = 7


def container(
    name: str = "app",
    state: ContainerState = ContainerState.RUNNING,
    code: int | None = None,
    *,
    siblings: int = 1,
    assignment: int = REVISION,
    finished_at: float | None = None,
) -> ContainerStatus:
    spec = ContainerSpec(
        id=f"default.web.0.1.{name}",
        instance="default.web.0.1",
        container=name,
        assignment=assignment,
        argv=("serve",),
        siblings=siblings,
    )
    ended = state is ContainerState.EXITED
    pid = None if ended else 42
    return ContainerStatus(spec, state, pid, code, "", 1.0, finished_at or (2.0 if ended else None))


def exited(name: str = "app", code: int | None = 1, **changes: object) -> ContainerStatus:
    return container(name, ContainerState.EXITED, code, **changes)  # type: ignore[arg-type]


def said(status: Status) -> InstanceObservation:
    return InstanceObservation(status, REVISION)


def situation(assignment: Assignment | None, *there: ContainerStatus, **more: object) -> Situation:
    return Situation(assignment, REVISION, there, **more)  # type: ignore[arg-type]


def test_what_is_assigned_and_not_there_is_started() -> None:
    now = situation(RUN)
    assert next_step(now) == Start()
    assert observe(now) == InstanceObservation(Status.PENDING, REVISION, "starting")


def test_what_runs_is_left_alone() -> None:
    now = situation(RUN, container())
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert observation.status is Status.RUNNING
    assert observation.started_at == 1.0


def test_all_containers_must_run_for_the_instance_to_run() -> None:
    now = situation(RUN, container("a", siblings=2), container("b", siblings=2))
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert observation.status is Status.RUNNING
    assert [each.name for each in observation.containers] == ["a", "b"]


def test_what_had_to_be_killed_is_told_with_why_it_was_to_stop() -> None:
    late = replace(exited(code=137), outlived_grace=True, reason="it did not end within 3 s")
    observation = observe(situation(STOP, late))
    assert observation
    assert observation.status is Status.SUCCEEDED
    assert observation.reason == "scaled from 2 to 1; it did not end within 3 s"


def test_the_end_of_one_container_ends_the_instance() -> None:
    now = situation(RUN, container("a", siblings=2), exited("b", 3, siblings=2))
    assert next_step(now) == StopAll(("default.web.0.1.a",))
    observation = observe(now)
    assert observation
    assert observation.status is Status.TERMINATING
    over = situation(RUN, exited("a", 143, siblings=2, finished_at=9.0), exited("b", 3, siblings=2))
    assert next_step(over) is None
    observation = observe(over)
    assert observation
    assert observation.status is Status.FAILED
    assert observation.reason == "container b exited with code 3"
    assert observation.finished_at == 9.0


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (0, Status.SUCCEEDED, "exited with code 0"),
        (1, Status.FAILED, "exited with code 1"),
        (137, Status.FAILED, "exited with code 137 (SIGKILL)"),
        (None, Status.FAILED, "ended, but nobody saw its exit code"),
    ],
)
def test_an_exit_is_told_with_its_code(code: int | None, status: Status, reason: str) -> None:
    observation = observe(situation(RUN, exited(code=code)))
    assert observation
    assert (observation.status, observation.reason) == (status, reason)
    assert observation.cause is ExitCause.EXITED


def test_a_failure_is_told_with_the_last_words_of_the_container_that_ended_first() -> None:
    first = replace(exited("a", 1, siblings=2), last_stderr="no such table: users")
    other = replace(exited("b", 1, siblings=2, finished_at=9.0), last_stderr="a is gone")
    observation = observe(situation(RUN, first, other))
    assert observation
    assert observation.reason == "container a exited with code 1: no such table: users"


def test_what_is_not_wanted_is_stopped_and_then_confirmed() -> None:
    now = situation(STOP, container())
    assert next_step(now) == StopAll(("default.web.0.1.app",))
    observation = observe(now)
    assert observation
    assert observation.status is Status.TERMINATING
    observation = observe(situation(STOP, exited(code=143)))
    assert observation
    assert observation.status is Status.SUCCEEDED
    assert observation.cause is ExitCause.STOPPED
    assert observation.reason == "scaled from 2 to 1"


def test_what_was_never_started_is_confirmed_at_once() -> None:
    observation = observe(situation(STOP))
    assert observation
    assert observation.status is Status.SUCCEEDED
    assert next_step(situation(STOP)) is None


def test_what_nobody_has_assigned_is_cleared_away() -> None:
    now = situation(None, container(), exited("b"))
    assert next_step(now) == Clear(("default.web.0.1.app", "default.web.0.1.b"))
    assert observe(now) is None
    assert next_step(situation(None)) is None


def test_remains_of_an_earlier_life_of_the_name_go_first() -> None:
    now = situation(RUN, container("old", assignment=3))
    assert next_step(now) == Clear(("default.web.0.1.old",))


def test_what_was_reported_finished_is_never_started_again() -> None:
    now = situation(RUN, reported=said(Status.FAILED))
    assert next_step(now) is None
    assert observe(now) == said(Status.FAILED)


def test_what_ran_and_has_vanished_has_failed() -> None:
    now = situation(RUN, reported=said(Status.RUNNING))
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert observation.status is Status.FAILED
    assert "vanished" in observation.reason


def test_a_half_made_instance_is_cleared_and_made_anew() -> None:
    now = situation(RUN, container("a", siblings=2))
    assert next_step(now) == Clear(("default.web.0.1.a",))
    created = situation(RUN, container(state=ContainerState.CREATED))
    assert next_step(created) == Clear(("default.web.0.1.app",))


def test_a_start_failure_is_reported_and_not_repeated() -> None:
    now = situation(RUN, start_failure="no such port")
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert (observation.status, observation.cause) == (Status.FAILED, ExitCause.START_FAILED)


def test_what_a_failed_start_has_left_running_is_stopped_first() -> None:
    now = situation(RUN, container("a", siblings=2), start_failure="no such command")
    assert next_step(now) == StopAll(("default.web.0.1.a",))
    observation = observe(now)
    assert observation
    assert observation.status is Status.TERMINATING


def test_a_shutdown_of_the_node_is_nobodys_failure() -> None:
    now = situation(RUN, container(), is_shutting_down=True)
    assert next_step(now) == StopAll(("default.web.0.1.app",))
    observation = observe(situation(RUN, exited(code=143), is_shutting_down=True))
    assert observation
    assert observation.cause is ExitCause.NODE_SHUTDOWN
    assert observation.status is Status.FAILED


def created() -> ContainerStatus:
    return container(state=ContainerState.CREATED)


def test_what_may_yet_start_is_cleared_before_it_is_said_to_have_stopped() -> None:
    now = situation(STOP, created())
    assert next_step(now) == Clear(("default.web.0.1.app",))
    observed = observe(now)
    assert observed
    assert observed.status is Status.TERMINATING


def test_what_may_yet_start_after_a_failed_start_is_cleared() -> None:
    now = situation(RUN, created(), start_failure="no such command")
    assert next_step(now) == Clear(("default.web.0.1.app",))
    observed = observe(now)
    assert observed
    assert observed.status is Status.TERMINATING


WAITING = {"waits_for": ("default.batch.0.1", "default.batch.1.1")}


def test_what_others_give_way_to_waits_and_says_for_whom() -> None:
    now = situation(RUN, **WAITING)
    assert next_step(now) is None
    reason = "waits for default.batch.0.1, default.batch.1.1 to stop"
    assert observe(now) == InstanceObservation(Status.PENDING, REVISION, reason)


def test_what_waits_and_is_not_wanted_any_more_is_confirmed_at_once() -> None:
    observation = observe(situation(STOP, **WAITING))
    assert observation
    assert observation.status is Status.SUCCEEDED


def test_remains_of_an_earlier_life_do_not_wait_to_be_cleared() -> None:
    now = situation(RUN, container("old", assignment=3), **WAITING)
    assert next_step(now) == Clear(("default.web.0.1.old",))


def test_what_runs_already_waits_for_nobody() -> None:
    now = situation(RUN, container(), **WAITING)
    assert next_step(now) is None
    observation = observe(now)
    assert observation
    assert observation.status is Status.RUNNING


@pytest.mark.parametrize(
    "now",
    [
        situation(None),
        situation(STOP),
        situation(STOP, exited(code=143)),
        situation(RUN, exited()),
        situation(RUN, reported=said(Status.FAILED)),
        situation(RUN, start_failure="no such port"),
    ],
    ids=["never existed", "never started", "stopped", "crashed", "reported", "start failed"],
)
def test_what_has_ended_is_in_nobodys_way(now: Situation) -> None:
    assert has_ended(now)


@pytest.mark.parametrize(
    "now",
    [
        situation(RUN),
        situation(RUN, container()),
        situation(STOP, container()),
        situation(STOP, created()),
        situation(STOP, container("a", siblings=2), exited("b", siblings=2)),
        situation(STOP, container("old", assignment=3)),
        situation(RUN, container(), reported=said(Status.FAILED)),
        situation(None, container()),
        situation(None, exited()),
    ],
    ids=[
        *("about to start", "running", "stopping", "half started", "half stopped"),
        *("earlier life", "said too early", "unassigned and running", "unassigned with remains"),
    ],
)
def test_what_runs_or_may_yet_run_is_in_the_way(now: Situation) -> None:
    assert not has_ended(now)


def test_what_is_prepared_is_told_as_far_as_it_is() -> None:
    told = observe(Situation(RUN, REVISION, (), progress="pulling app:1.4: 35 of 129 MB"))
    assert told is not None
    assert (told.status, told.reason) == (Status.PENDING, "pulling app:1.4: 35 of 129 MB")


def test_address_and_image_of_a_container_are_reported_and_stay() -> None:
    image = "docker.io/library/web@sha256:" + 64 * "0"
    running = container()
    spec = replace(running.spec, isolation=Isolation(image, ContainerConfig("app", image="web")))
    isolated = replace(running, spec=spec, address="10.117.0.2")
    told = observe(Situation(RUN, REVISION, (isolated,)))
    assert told is not None
    assert (told.address, [each.image for each in told.containers]) == ("10.117.0.2", [image])
    later = observe(Situation(STOP, REVISION, (), reported=told))
    assert later is not None
    assert later.address == "10.117.0.2"
