"""Processes as /proc shows them: who they are, whose they are, and how to end them.

Never by `kill(pid, 0)`, which a zombie answers, and so does a stranger with the same pid.
"""

import os
import time

from orchestrator.runtime.supervisor.signals import SIGKILL, send


def processes() -> list[tuple[int, int, int]]:
    """`(pid, parent, session)` of all processes that are not zombies."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    stats = [(pid, stat_fields(pid)) for pid in pids]
    return [
        (pid, int(stat[1]), int(stat[3]))
        for pid, stat in stats
        if stat and stat[0] not in (b"Z", b"X")
    ]


def children(parent: int) -> list[int]:
    return [pid for pid, its_parent, _ in processes() if its_parent == parent]


def strays(session: int, mark: str) -> list[int]:
    """Those of a session (0: of none), and those that have a variable `mark` in their environment.

    The number of a session is no stranger's for as long as anybody is left in it.
    """
    return [
        pid
        for pid, _, its_session in processes()
        if (session and its_session == session) or has_variable(pid, mark)
    ]


def has_variable(pid: int, variable: str) -> bool:
    """Whether a process was started with `NAME=value`. False for those of other users."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return os.fsencode(variable) in file.read().split(b"\0")
    except OSError:
        return False


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since the machine's start; 0 if it is not there."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid: int) -> list[bytes]:
    """/proc/<pid>/stat from its third field on (the second may hold anything).

    Empty if it is gone, or is another user's and /proc hides those (`hidepid`).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        send(SIGKILL, pid)


def kill_strays(session: int, mark: str) -> None:
    """Until there are none of them."""
    while left := strays(session, mark):
        kill_all(left)
        time.sleep(0.02)


def set_for_itself(option: int, value: int) -> None:
    """Raises OSError. See prctl(2)."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")
