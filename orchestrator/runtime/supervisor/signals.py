"""The few signals of a supervisor, without the module `signal`.

That one builds enums, which would take 5 ms of each start of a container; this is its C half.
"""

import _signal  # type: ignore[import-not-found]
import os

SIGTERM: int = _signal.SIGTERM
SIGKILL: int = _signal.SIGKILL
SIGCHLD: int = _signal.SIGCHLD

TERMINATE: int = _signal.SIGUSR1
"""Asks a supervisor to send SIGTERM to its container's process group."""

KILL: int = _signal.SIGUSR2
"""Asks a supervisor to send SIGKILL to its container's process group."""


def hear_signals() -> int:
    """A pipe from which each signal is read as a byte, those that ask to end among them.

    They are handled, not ignored, so that they have their defaults again after an exec.
    """
    heard, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in (TERMINATE, KILL, SIGCHLD):
        _signal.signal(number, lambda *_: None)
    pass_over_requests_to_end()
    return heard


def pass_over_requests_to_end() -> None:
    for number in (SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, lambda *_: None)


def restore_what_python_ignores() -> None:
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)


def send(number: int, pid: int) -> None:
    """A signal to a process (or group, if negative) that may be gone or of another user."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def send_by_pidfd(pidfd: int, number: int) -> None:
    """A signal to a process that may have ended, and to no other."""
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return
