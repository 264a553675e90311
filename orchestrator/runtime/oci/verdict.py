"""What the records of a container made of an image mean, in words. Pure."""

from __future__ import annotations

import signal

from orchestrator.runtime import outcome
from orchestrator.runtime.container_dir import ProcessRecord
from orchestrator.runtime.oci.place import EndRecord
from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus

UNSEEN = (
    "its supervisor (conmon) was killed, so nobody saw how it ended; of its output, what came after"
    " that is lost"
)

KILLED = 128 + signal.SIGKILL


def exited(spec: ContainerSpec, process: ProcessRecord | None, end: EndRecord) -> ContainerStatus:
    """`started_at` stays None when its command never ran."""
    if end.failure:
        return outcome.never_started(spec, end.failure, end.finished_at)
    return ContainerStatus(
        spec,
        ContainerState.EXITED,
        exit_code=end.code,
        reason=_reason(spec, end),
        started_at=process.started_at if process else None,
        finished_at=end.finished_at,
        is_oom_killed=end.is_oom_killed,
    )


def _reason(spec: ContainerSpec, end: EndRecord) -> str:
    if end.code is None:
        return UNSEEN
    if end.is_oom_killed:
        limit = spec.limits.memory_mb
        of = f"its limit is {limit:g} MB; raise `resource_limits`" if limit else "the node had none"
        return f"killed for want of memory: {of} (exit code {end.code})"
    if end.code > 128 and end.code - 128 in signal.valid_signals():
        return f"ended by {outcome.signal_name(end.code - 128)} (exit code {end.code})"
    return ""
