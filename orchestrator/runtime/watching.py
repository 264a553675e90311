"""`Watchdog`: the seam between an agent and what stops its fence instances should it be cut off.

Theory of operation
-------------------
A node promises of each instance whose workload says `on_node_lost: fence` that it stops it when the
node's session has been over for so long (`model.instance.FenceTerms`). The promise must be kept
also if the agent hangs, is stopped or killed. So it is not the agent that keeps it, but something
that shares no fate with it, and asks nobody: it knows *until when the session surely lasts*, and
which containers run on whose word. The agent moves the first on with each renewal, to what is
counted from the renewal's sending; if it does not, time alone does the rest.

What is on the list is not stopped because it is there, but for as long as its time is over: what
comes to run later, by a start that was under way, is stopped as well. What has been sent SIGTERM is
killed after its grace, even if the node is heard of again: it was told to end.

All times are seconds since boot, on a clock that runs through suspend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a container's processes are found by who knows nothing else: `directory` has its
    `pid.json` (see `container_dir`), and `cgroup` all that belongs to it, if it is not empty."""

    directory: str
    cgroup: str = ""


@dataclass(frozen=True, slots=True)
class Ward:
    """A container to be stopped `after_seconds` beyond the session's end."""

    container_id: str
    trace: Trace
    after_seconds: float
    grace_seconds: float


class Watchdog(Protocol):
    @property
    def trusted_until(self) -> float:
        """Until when the session surely lasts; far in the past if it never began in this boot."""
        ...

    def wards(self) -> Sequence[Ward]:
        """The list that an earlier life of the agent has left; empty if there is none."""
        ...

    def trust_until(self, at: float) -> None:
        """At once, whatever the disk does."""
        ...

    async def guard(self, wards: Sequence[Ward]) -> None:
        """Instead of those before. Returns when the list is on disk; raises
        `model.errors.RuntimeError` if it cannot be."""
        ...

    async def tend(self) -> None:
        """See to it that somebody watches, if there is anything to watch."""
        ...

    def is_at_work(self) -> bool: ...
