"""What to do next for one instance, and what to say of it: pure functions of what there is.

An instance is one attempt. It is started at most once: when one of its containers ends, the
others are stopped, and what has been reported as finished is never started again. One that
others give way to starts when they have ended here.

*Cut off:* while nobody can be told, nobody makes new attempts. What has run here and ends is then
not said to have ended: the node restarts it as what it was, and says so later.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace

from orchestrator.agent.contact import Contact
from orchestrator.agent.restarts import LocalRestarts
from orchestrator.model.instance import (
    Assignment,
    ContainerObservation,
    ExitCause,
    InstanceObservation,
    PastExit,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.runtime.protocol import ContainerState, ContainerStatus


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start all containers of the assignment's template."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Remove what is left of its containers, then create and start them again as they were."""


@dataclass(frozen=True, slots=True)
class StopAll:
    """Stop these, with their grace."""

    container_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove these, running or not: nobody wants them, or they are half made."""

    container_ids: tuple[str, ...]


VANISHED = "its containers have vanished from the node"

Step = Start | Restart | StopAll | Clear


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one instance on this node.

    `assignment` None: nobody wants it here (any more). `revision` is the assignment's
    create_revision. `reported` is what was last said of *this* assignment. `start_failure` is
    why it could not be started, and `progress` how far its start is. `waits_for` are those of the
    assignment's `after` that have not ended.

    `now` is in seconds since boot. `restarts` are the node's own, None unless it is a resident.
    `is_fenced`: the node has been cut off for as long as it has promised to let this one run.
    """

    assignment: Assignment | None
    revision: int
    containers: tuple[ContainerStatus, ...]
    reported: InstanceObservation | None = None
    start_failure: str = ""
    is_shutting_down: bool = False
    waits_for: tuple[str, ...] = ()
    progress: str = ""
    now: float = 0.0
    contact: Contact = Contact.SURE
    restarts: LocalRestarts | None = None
    is_fenced: bool = False

    own: tuple[ContainerStatus, ...] = field(init=False, repr=False, compare=False)
    """Of `containers`, those of this very assignment."""

    def __post_init__(self) -> None:
        own = tuple(each for each in self.containers if each.spec.assignment == self.revision)
        object.__setattr__(self, "own", own)

    def running(self) -> list[ContainerStatus]:
        return [each for each in self.own if each.state is ContainerState.RUNNING]

    def created(self) -> list[ContainerStatus]:
        """A start that was interrupted, and that the runtime may yet complete."""
        return [each for each in self.own if each.state is ContainerState.CREATED]

    def exited(self) -> list[ContainerStatus]:
        return [each for each in self.own if each.state is ContainerState.EXITED]

    @property
    def expected(self) -> int:
        """How many containers it is to have; what is on disk knows it without the store."""
        return max((each.spec.siblings for each in self.own), default=0)

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

    @property
    def is_half_made(self) -> bool:
        return bool(len(self.own) < self.expected or self.created())

    @property
    def is_held(self) -> bool:
        """It ran and does no more, for no reason but its own, and nobody can be told."""
        if self.contact is Contact.SURE or self.restarts is None or not self.ran_before:
            return False
        if not self.is_wanted or self.is_fenced or self.start_failure:
            return False
        return bool(not self.own or self.exited() or self.is_half_made)

    @property
    def may_restart(self) -> bool:
        if not self.contact.is_cut_off or self.restarts is None or self.must_ask:
            return False
        return self.restarts.is_due(self.now)

    @property
    def must_ask(self) -> bool:
        """Nobody here knows whether people have given it up since it was last heard of."""
        return (
            self.contact is Contact.NEVER and self.assignment is not None and self.assignment.waits
        )


def next_step(now: Situation) -> Step | None:
    """The one thing to do next; None if there is nothing to do but to wait."""
    own = now.own
    foreign = [each for each in now.containers if each not in own]
    if foreign or now.assignment is None:
        return _clear(now.containers if now.assignment is None else foreign)
    running = now.running()
    is_over = bool(not now.is_wanted or now.was_finished or now.start_failure or now.is_fenced)
    has_lost_some = now.ran_before and now.is_half_made
    if running and (is_over or now.exited() or has_lost_some):
        return StopAll(tuple(each.spec.id for each in running))
    if is_over:
        return _clear(now.created())
    if now.is_held:
        return Restart() if now.may_restart else None
    if not own:
        return None if now.ran_before or now.waits_for else Start()
    return _clear(own) if now.is_half_made and not now.ran_before else None


def past_exit(now: Situation) -> tuple[PastExit, float]:
    """How an instance that is held has ended, and how long it had lived, in seconds."""
    own = now.own
    ended = [each for each in own if each.state is ContainerState.EXITED]
    first = min(ended, key=_end_order, default=None)
    if first is None:
        return PastExit("", VANISHED), 0.0
    ends = [each.finished_at for each in ended if each.finished_at is not None]
    starts = [each.started_at for each in own if each.started_at is not None]
    lived = max(ends, default=0.0) - min(starts, default=0.0) if ends and starts else 0.0
    told = PastExit(first.spec.container, _told_end(now, first), first.exit_code, first.finished_at)
    return told, max(0.0, lived)


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
    if now.is_held:
        return _held(now)
    status, cause, reason = _judged(now)
    own = sorted(now.own, key=lambda each: each.spec.container)
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
        restarts=now.restarts.count if now.restarts else last.restarts if last else 0,
        exits=now.restarts.exits if now.restarts else last.exits if last else (),
    )
    if not own and last is not None:
        return replace(
            observation, ports=last.ports, containers=last.containers, address=last.address
        )
    return observation


def _held(now: Situation) -> InstanceObservation:
    """For the node it still runs, and moves only forward."""
    assert now.reported is not None
    assert now.restarts is not None
    last = now.restarts.exits[-1].reason if now.restarts.exits else ""
    reason = f"{last}; its node is cut off, {_care(now)}" if last else now.reported.reason
    return replace(
        now.reported, reason=reason, restarts=now.restarts.count, exits=now.restarts.exits
    )


def _care(now: Situation) -> str:
    if now.must_ask:
        return "and starts it only when the store is heard of: on_node_lost is `wait`"
    return "and restarts it"


def _judged(now: Situation) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    assert now.assignment is not None
    running, exited = now.running(), now.exited()
    is_over = not (running or now.created())
    ending = WorkloadInstanceStatus.FAILED if is_over else WorkloadInstanceStatus.TERMINATING
    if now.start_failure:
        return ending, ExitCause.START_FAILED, now.start_failure
    if not now.is_wanted:
        return _ending(now, is_over=is_over)
    if now.is_fenced and (now.own or now.ran_before):
        return ending, ExitCause.FENCED, _told_fence(now.assignment)
    if exited:
        return _ended(now, exited, is_over=not running)
    return _going(now)


def _going(now: Situation) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    """It is wanted, and none of its containers is seen to have ended."""
    running = now.running()
    if not now.own and not now.ran_before:
        others = ", ".join(now.waits_for)
        reason = f"waits for {others} to stop" if others else now.progress or "starting"
        return WorkloadInstanceStatus.PENDING, ExitCause.NONE, reason
    if now.own and len(running) == now.expected:
        told = now.restarts.told() if now.restarts else ""
        return WorkloadInstanceStatus.RUNNING, ExitCause.NONE, told
    if not now.ran_before:
        return WorkloadInstanceStatus.PENDING, ExitCause.NONE, "starting"
    status = WorkloadInstanceStatus.TERMINATING if running else WorkloadInstanceStatus.FAILED
    return status, ExitCause.EXITED, _last_seen(now)


def _ending(now: Situation, *, is_over: bool) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    """It is not wanted: it did as it was told, whatever its exit code."""
    assert now.assignment is not None
    if now.assignment.wanted is Wanted.STOPPED:
        done, cause = WorkloadInstanceStatus.SUCCEEDED, ExitCause.STOPPED
        reason = now.assignment.reason
        if late := [each for each in now.exited() if each.outlived_grace]:
            reason += f"; {_told_end(now, min(late, key=_end_order))}"
    else:
        done, cause = WorkloadInstanceStatus.FAILED, ExitCause.NODE_SHUTDOWN
        reason = "the node was shut down"
    return (done if is_over else WorkloadInstanceStatus.TERMINATING), cause, reason


def _ended(
    now: Situation, exited: list[ContainerStatus], *, is_over: bool
) -> tuple[WorkloadInstanceStatus, ExitCause, str]:
    """The container that ended first tells why; the others were stopped because of it."""
    reason = _told_end(now, min(exited, key=_end_order))
    if not is_over:
        return WorkloadInstanceStatus.TERMINATING, ExitCause.EXITED, reason
    is_success = all(each.exit_code == 0 for each in exited)
    status = WorkloadInstanceStatus.SUCCEEDED if is_success else WorkloadInstanceStatus.FAILED
    return status, ExitCause.EXITED, reason


def _end_order(each: ContainerStatus) -> tuple[float, str]:
    return each.finished_at or 0.0, each.spec.container


def _told_end(now: Situation, first: ContainerStatus) -> str:
    prefix = f"container {first.spec.container} " if now.expected > 1 else ""
    return f"{prefix}{told_exit(first)}"


def _last_seen(now: Situation) -> str:
    """It may have been taken apart for a restart that has failed."""
    exits = now.restarts.exits if now.restarts else ()
    return f"{exits[-1].reason}; it was not restarted" if exits else VANISHED


def _told_fence(assignment: Assignment) -> str:
    after = assignment.fence.after_seconds if assignment.fence else 0.0
    return f"its node was cut off for {after:g} s and has stopped it: on_node_lost is `fence`"


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
