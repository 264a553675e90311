"""What to do next for one instance, and what to say of it: pure functions of what there is.

An instance is one attempt. It is started at most once: when one of its containers ends, the
others are stopped, and what has been reported as finished is never started again. One that
others give way to starts when they have ended here.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    ExitCause,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.runtime.protocol import ContainerState, ContainerStatus


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start all containers of the assignment's template."""


@dataclass(frozen=True, slots=True)
class StopAll:
    """Stop these, with their grace."""

    container_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove these, running or not: nobody wants them, or they are half made."""

    container_ids: tuple[str, ...]


Step = Start | StopAll | Clear


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one instance on this node.

    `assignment` None: nobody wants it here (any more). `revision` is the assignment's
    create_revision. `reported` is what was last said of *this* assignment. `start_failure` is
    why it could not be started, and `progress` how far its start is. `waits_for` are those of the
    assignment's `after` that have not ended.
    """

    assignment: Assignment | None
    revision: int
    containers: tuple[ContainerStatus, ...]
    reported: InstanceObservation | None = None
    start_failure: str = ""
    is_shutting_down: bool = False
    waits_for: tuple[str, ...] = ()
    progress: str = ""

    def own(self) -> list[ContainerStatus]:
        return [each for each in self.containers if each.spec.assignment == self.revision]

    def running(self) -> list[ContainerStatus]:
        return [each for each in self.own() if each.state is ContainerState.RUNNING]

    def created(self) -> list[ContainerStatus]:
        """A start that was interrupted, and that the runtime may yet complete."""
        return [each for each in self.own() if each.state is ContainerState.CREATED]

    def exited(self) -> list[ContainerStatus]:
        return [each for each in self.own() if each.state is ContainerState.EXITED]

    @property
    def expected(self) -> int:
        """How many containers it is to have; what is on disk knows it without the store."""
        return max((each.spec.siblings for each in self.own()), default=0)

    @property
    def is_wanted(self) -> bool:
        wants = self.assignment is not None and self.assignment.wanted is Wanted.RUNNING
        return wants and not self.is_shutting_down

    @property
    def was_finished(self) -> bool:
        return self.reported is not None and self.reported.status.is_finished

    @property
    def ran_before(self) -> bool:
        running = WorkloadInstanceStatus.RUNNING
        return self.reported is not None and self.reported.status is running


def next_step(now: Situation) -> Step | None:
    """The one thing to do next; None if there is nothing to do but to wait."""
    own = now.own()
    foreign = [each for each in now.containers if each not in own]
    if foreign or now.assignment is None:
        return _clear(now.containers if now.assignment is None else foreign)
    running = now.running()
    is_over = bool(not now.is_wanted or now.was_finished or now.start_failure)
    if running and (is_over or now.exited()):
        return StopAll(tuple(each.spec.id for each in running))
    if is_over:
        return _clear(now.created())
    if not own:
        return None if now.ran_before or now.waits_for else Start()
    is_half_made = bool(len(own) < now.expected or now.created())
    return _clear(own) if is_half_made and not now.ran_before else None


def has_ended(now: Situation) -> bool:
    """Whether nothing of it runs here, nor ever will: it is finished, or unassigned and gone."""
    if any(each.state is not ContainerState.EXITED for each in now.containers):
        return False
    if now.assignment is None:
        return not now.containers
    observation = observe(now)
    return observation is not None and observation.status.is_finished


def _clear(containers: list[ContainerStatus] | tuple[ContainerStatus, ...]) -> Clear | None:
    return Clear(tuple(each.spec.id for each in containers)) if containers else None


def observe(now: Situation) -> InstanceObservation | None:
    """What to report; None when there is nothing to say because nobody has assigned it."""
    if now.assignment is None:
        return None
    if now.was_finished:
        return now.reported
    status, cause, reason = _judged(now)
    own = sorted(now.own(), key=lambda each: each.spec.container)
    starts = [each.started_at for each in own if each.started_at is not None]
    ends = [each.finished_at for each in own if each.finished_at is not None]
    last = now.reported
    observation = InstanceObservation(
        status=status,
        assignment=now.revision,
        reason=reason,
        cause=cause,
        ports=tuple(port for each in own for port in each.spec.ports),
        containers=tuple(_container(each) for each in own),
        started_at=min(starts, default=last.started_at if last else None),
        finished_at=max(ends, default=None) if status.is_finished else None,
        address=next((each.address for each in own if each.address), ""),
    )
    if not own and last is not None:
        return replace(
            observation, ports=last.ports, containers=last.containers, address=last.address
        )
    return observation


def _judged(now: Situation) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    assert now.assignment is not None
    running, exited = now.running(), now.exited()
    is_over = not (running or now.created())
    if now.start_failure:
        status = WorkloadInstanceStatus.FAILED if is_over else WorkloadInstanceStatus.TERMINATING
        return status, ExitCause.START_FAILED, now.start_failure
    if not now.is_wanted:
        return _ending(now, is_over=is_over)
    if exited:
        return _ended(now, exited, is_over=not running)
    if not now.own():
        if now.ran_before:
            vanished = "its containers have vanished from the node"
            return WorkloadInstanceStatus.FAILED, ExitCause.EXITED, vanished
        others = ", ".join(now.waits_for)
        reason = f"waits for {others} to stop" if others else now.progress or "starting"
        return WorkloadInstanceStatus.PENDING, ExitCause.NONE, reason
    if len(running) < now.expected:
        return WorkloadInstanceStatus.PENDING, ExitCause.NONE, "starting"
    return WorkloadInstanceStatus.RUNNING, ExitCause.NONE, ""


def _ending(now: Situation, *, is_over: bool) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    """It is not wanted: it did as it was told, whatever its exit code."""
    assert now.assignment is not None
    if now.assignment.wanted is Wanted.STOPPED:
        done, cause = WorkloadInstanceStatus.SUCCEEDED, ExitCause.STOPPED
        reason = now.assignment.reason
    else:
        done, cause = WorkloadInstanceStatus.FAILED, ExitCause.NODE_SHUTDOWN
        reason = "the node was shut down"
    return (done if is_over else WorkloadInstanceStatus.TERMINATING), cause, reason


def _ended(
    now: Situation, exited: list[ContainerStatus], *, is_over: bool
) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    """The container that ended first tells why; the others were stopped because of it."""
    first = min(exited, key=lambda each: (each.finished_at or 0.0, each.spec.container))
    prefix = f"container {first.spec.container} " if now.expected > 1 else ""
    reason = f"{prefix}{told_exit(first)}"
    if not is_over:
        return WorkloadInstanceStatus.TERMINATING, ExitCause.EXITED, reason
    is_success = all(each.exit_code == 0 for each in exited)
    status = WorkloadInstanceStatus.SUCCEEDED if is_success else WorkloadInstanceStatus.FAILED
    return status, ExitCause.EXITED, reason


def told_exit(container: ContainerStatus) -> str:
    """`exited with code 137 (SIGKILL)`, or the runtime's own words where it has some; and the
    container's own last ones where they may tell why."""
    told = container.reason or _told_code(container.exit_code)
    return f"{told}: {container.last_stderr}" if container.last_stderr else told


def _told_code(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended, but nobody saw its exit code"
    try:
        name = f" ({signal.Signals(exit_code - 128).name})"
    except ValueError:
        name = ""
    return f"exited with code {exit_code}{name}"


def _container(status: ContainerStatus) -> ContainerObservation:
    return ContainerObservation(
        name=status.spec.container,
        id=status.spec.id,
        pid=status.pid,
        exit_code=status.exit_code,
        reason=status.reason,
        image=status.spec.isolation.image if status.spec.isolation else "",
        is_oom_killed=status.is_oom_killed,
    )
