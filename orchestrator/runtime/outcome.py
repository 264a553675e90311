"""What a container's records mean: the only place that puts them into words."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace

from orchestrator.runtime.container_dir import ExitRecord, ProcessRecord
from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus

UNSEEN = "its supervisor was killed, so nobody saw how it ended"

NOT_ITS_OWN_FAILURE = frozenset({None, 0, 128 + signal.SIGTERM, 128 + signal.SIGKILL})
"""Exit codes of what has not ended, ended well, was asked to end, or was killed."""

MAX_SHOWN = 200

_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""Of a terminal: colours, mostly (ECMA-48, control sequences)."""


def running(spec: ContainerSpec, process: ProcessRecord) -> ContainerStatus:
    return ContainerStatus(
        spec, ContainerState.RUNNING, pid=process.pid, started_at=process.started_at
    )


def exited(spec: ContainerSpec, process: ProcessRecord | None, end: ExitRecord) -> ContainerStatus:
    """`started_at` stays None when its command never ran."""
    if end.failed_at:
        return never_started(spec, start_failure(spec, end), end.finished_at)
    exit_code, reason = end.code, ""
    if end.signal is not None:
        exit_code = 128 + end.signal
        reason = f"ended by {signal_name(end.signal)} (exit code {exit_code})"
    elif end.code is None:
        reason = UNSEEN
    return ContainerStatus(
        spec,
        ContainerState.EXITED,
        exit_code=exit_code,
        reason=reason,
        started_at=process.started_at if process else None,
        finished_at=end.finished_at,
    )


def with_last_words(status: ContainerStatus, last_stderr: Callable[[], str]) -> ContainerStatus:
    """`last_stderr` is asked only where it may tell why: not of what ended well, or was ended."""
    if status.exit_code in NOT_ITS_OWN_FAILURE:
        return status
    return replace(status, last_stderr=shown(last_stderr()))


def with_grace(status: ContainerStatus, outlived_seconds: float) -> ContainerStatus:
    """See `Lifecycle.outlived_seconds`."""
    if not outlived_seconds or status.exit_code != 128 + signal.SIGKILL or status.is_oom_killed:
        return status
    reason = f"it did not end within {outlived_seconds:g} s of being told to, and was killed"
    return replace(status, reason=reason, outlived_grace=True)


def shown(line: str) -> str:
    """One line of somebody's output, fit for a status: plain, and not long."""
    plain = "".join(filter(str.isprintable, _ESCAPE_SEQUENCE.sub("", line))).strip()
    return plain if len(plain) <= MAX_SHOWN else f"{plain[: MAX_SHOWN - 1]}…"


def never_started(
    spec: ContainerSpec, reason: str, finished_at: float | None = None
) -> ContainerStatus:
    return ContainerStatus(spec, ContainerState.EXITED, reason=reason, finished_at=finished_at)


def start_failure(spec: ContainerSpec, end: ExitRecord) -> str:
    """One sentence for whoever wrote the manifest."""
    command, why = spec.argv[0], os.strerror(end.errno)
    match end.failed_at, end.errno:
        case "working_dir", _:
            return (
                f"its working directory {spec.working_dir!r} cannot be entered: {why}; create it on"
                " the node, or correct `working_dir`"
            )
        case "limits", _:
            return f"its limits cannot be set: {why}; correct `resource_limits`"
        case "exec", errno.ENOENT if "/" in command:
            return (
                f"command {command!r}, or the interpreter named in its first line, is not there:"
                " install it on the node, or correct `command`"
            )
        case "exec", errno.ENOENT:
            return (
                f"command {command!r} is not found on the PATH of its node: install it there, or"
                " correct `command`"
            )
        case "exec", errno.EACCES:
            return f"command {command!r} is not executable: `chmod +x` it, or correct `command`"
        case "exec", errno.ENOEXEC:
            return (
                f"command {command!r} is neither a program nor a script with a #! line: correct it,"
                " or run it by its interpreter"
            )
    return f"command {command!r} cannot be started: {why}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
