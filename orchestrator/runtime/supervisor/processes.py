"""Processes as /proc shows them: who they are, whose they are, and how to end them.

Never by `kill(pid, 0)`, which a zombie answers, and so does a stranger with the same pid.
"""

import os
import time

from orchestrator.runtime.supervisor.signals import SIGKILL, send

PF_KTHREAD = 0x00200000

DOUBT_SECONDS = 1.0
"""Nobody takes as long to become another program or to end; some kernels never tell who does."""


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


def strays(session: int, mark: str) -> tuple[list[int], bool]:
    """Those of a session (0: of none), and those that have a variable `mark` in their environment;
    and whether that is sure: somebody may not be told from others at this moment.

    The number of a session is no stranger's for as long as anybody is left in it.
    """
    found: list[int] = []
    is_sure = True
    for pid, _, its_session in processes():
        is_ours = bool(session and its_session == session) or has_variable(pid, mark)
        if is_ours:
            found.append(pid)
        is_sure = is_sure and is_ours is not None
    return found, is_sure


def has_variable(pid: int, variable: str) -> bool | None:
    """Whether a process was started with `NAME=value`. False for those of other users. None: it
    is becoming another program at this moment, or ending, and shows no environment meanwhile."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return False
    if environment:
        return os.fsencode(variable) in environment.split(b"\0")
    return False if _never_has_any(stat_fields(pid)) else None


def _never_has_any(stat: list[bytes]) -> bool:
    """Of a process without an environment: it is the kernel's, was started so, or is gone."""
    if not stat or int(stat[6]) & PF_KTHREAD:
        return True
    start, end = stat[47:49]
    return start == end != b"0"


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
    """Until none is found, twice in a row: who was made while we looked, by somebody who has ended
    since, is there at the second look."""
    looks_in_vain = 0
    patient_until = time.monotonic() + DOUBT_SECONDS
    while looks_in_vain < 2:
        left, is_sure = strays(session, mark)
        kill_all(left)
        if left:
            patient_until = time.monotonic() + DOUBT_SECONDS
        if left or (not is_sure and time.monotonic() < patient_until):
            looks_in_vain = 0
            time.sleep(0.02)
        else:
            looks_in_vain += 1


def set_for_itself(option: int, value: int) -> None:
    """Raises OSError. See prctl(2)."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")
