"""The watchdog: a small process that stops its node's fence instances when their time is over.

Theory of operation
-------------------
It keeps what "Theory of operation" in `runtime.watching` promises, and shares no fate with the
agent: it has its own session and no pipe to anybody, asks neither etcd nor the network, and is
not swapped out where that is permitted. It is told by two files (see `state`), and looks at them
four times a second; there is nothing else that could wake it too late. Only one lives at a time, by
a lock. It ends by itself when nobody is left to be watched.

It judges by CLOCK_BOOTTIME alone: no wall clock, and nothing of another boot. If it cannot read the
list, the last one it has read stays in force.

*Bounds:* it stops within a quarter of a second of the deadline, on a machine that lets it run. One
that is paused as a whole stops nothing while it is paused.
"""

import mmap
import os
import sys
import time

from orchestrator.runtime.supervisor.signals import pass_over_requests_to_end
from orchestrator.runtime.supervisor.start import keep_only
from orchestrator.runtime.watchdog.state import (
    LONG_AGO,
    NANOSECONDS,
    TRUST_BYTES,
    WARDS_FILE,
    WardLine,
    boot_number,
    open_trust,
    unpacked,
)
from orchestrator.runtime.watchdog.stopping import Identity, identity_of, kill, tell

LOOK_SECONDS = 0.25
IDLE_LOOKS = 40
"""With nobody to watch for so long, it ends."""

SLOW_LOOKS = 8

MCL_CURRENT, MCL_FUTURE = 1, 2
UNKILLABLE = "-1000"


class Watchdog:
    """Works in the agent's directory for it."""

    def __init__(self) -> None:
        memory = mmap.mmap(open_trust("."), TRUST_BYTES)
        self._numbers = memoryview(memory).cast("q")
        self._boot = boot_number()
        self._wards: list[WardLine] = []
        self._seen = (0, 0, 0)
        self._told_at: dict[tuple[str, Identity], int] = {}
        self._due_since: dict[str, int] = {}
        self._looks = 0

    def run(self) -> None:
        idle_looks = 0
        while idle_looks < IDLE_LOOKS:
            self._looks += 1
            self._numbers[1] = now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self._read_wards()
            for ward in self._wards:
                self._look_at(ward, now)
            idle_looks = 0 if self._wards else idle_looks + 1
            time.sleep(LOOK_SECONDS)

    def _read_wards(self) -> None:
        try:
            stat = os.stat(WARDS_FILE)
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                with open(WARDS_FILE, "rb") as file:
                    self._wards = unpacked(file.read())
                self._seen = seen
        except FileNotFoundError:
            self._wards = []
        except (OSError, ValueError) as problem:
            print(f"the list of wards cannot be read: {problem}", file=sys.stderr, flush=True)

    def _trusted_until(self) -> int:
        return self._numbers[0] if self._numbers[2] == self._boot else LONG_AGO

    def _look_at(self, ward: WardLine, now: int) -> None:
        """What was told to end is killed after its grace, whatever has become of the session."""
        grace = round(ward.grace_seconds * NANOSECONDS)
        is_due = now >= self._trusted_until() + round(ward.after_seconds * NANOSECONDS)
        identity = identity_of(ward.directory)
        told_at = self._told_at.get((ward.container_id, identity)) if identity else None
        if is_due and identity and told_at is None:
            self._told_at[ward.container_id, identity] = now
            print(f"stopping {ward.container_id}: its time is over", file=sys.stderr, flush=True)
            tell(identity, ward.cgroup)
        elif told_at is not None and now >= told_at + grace:
            kill(identity, ward.directory, ward.cgroup)
        if not is_due:
            self._due_since.pop(ward.container_id, None)
        elif now >= self._due_since.setdefault(ward.container_id, now) + grace:
            self._clear(ward, identity)

    def _clear(self, ward: WardLine, identity: Identity | None) -> None:
        """Its grace is over as well: nothing of it may be left, nor come to be. To look for what
        has no cgroup is to look at all processes, which is not done each time."""
        if identity or ward.cgroup or self._looks % SLOW_LOOKS == 0:
            kill(identity, ward.directory, ward.cgroup)


def harden() -> None:
    """As far as we may: not swapped out, and not killed for want of memory."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).mlockall(MCL_CURRENT | MCL_FUTURE)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(UNKILLABLE)
    except OSError:
        return


def main(directory: str, lock: str) -> None:
    """`lock` is the number of a locked file, held for as long as we live."""
    keep_only([int(lock)])
    os.chdir(directory)
    pass_over_requests_to_end()
    harden()
    Watchdog().run()
