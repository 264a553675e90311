"""A vigil: whose process has died is known at once, long before its lease has ended.

Theory of operation
-------------------
*Death* is two findings, one after the other. A connection to the very process that held the lease
has ended: the kernel closes a dead process's. And then its address is refused, for nobody listens
there any more; or the same name answers without that lease, for it has been started again.

*Not death* is whatever a living process may look like from afar: silence (it hangs, or the network
is gone), an error of TLS, another name at its address (a load balancer's choice). Nor is it death
when nobody ever was to be met at the address: it may be a wrong one. All of these are left to the
lease.

*Being wrong.* A firewall that resets and refuses looks like death. So whoever acts on a vigil may
do no more than the end of the lease would have done, and what is written under it must be fenced.

*Rejected:* heartbeats, for a pause would look like death; a word of good-bye, for who leaves in
good order gives its lease back before it stops to listen.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

import aiohttp

from orchestrator.process.presence import PATH, Hello

ANSWER_SECONDS = 2.0
"""Until a process that lives has said who it is."""

FIRST_PAUSE_SECONDS = 0.004
"""A process that is being killed may close what it listens on after its connections."""

LONGEST_PAUSE_SECONDS = 1.0
STRANGERS_PAUSE_SECONDS = 15.0
"""Between two tries at an address where the process was never met: a wrong one, perhaps."""

STEADY_SECONDS = 1.0
"""A connection that was held so long did not break for the reason that the last one did."""

BROKEN = (aiohttp.ClientError, OSError, ValueError)
"""aiohttp lets `ValueError` through for an address that is no URL."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A process that holds a lease, as its record in the store says. `address` is its URL."""

    name: str
    address: str
    lease_id: int


class Finding(Enum):
    REFUSED = auto()
    """Nobody listens at its address."""

    REPLACED = auto()
    """Its name is used by a process that does not hold its lease."""

    UNCLEAR = auto()


class Vigil:
    """One observer's, over one process. `jitter` draws evenly from 0 to 1; `on_met` is called once,
    when its death would be noticed from then on."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        suspect: Suspect,
        jitter: Callable[[], float],
        *,
        on_met: Callable[[], None] = lambda: None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._http = http
        self._url = suspect.address.rstrip("/") + PATH
        self._expected = Hello(suspect.name, suspect.lease_id)
        self._jitter = jitter
        self._on_met = on_met
        self._answer_seconds = answer_seconds
        self._has_met = False

    async def until_dead(self) -> None:
        """Returns once the process has died, as far as one observer can tell; else never.

        Cancel it when the lease has ended.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            finding = await self._look()
            if self._has_met and finding is not Finding.UNCLEAR:
                return
            is_steady = loop.time() - began >= STEADY_SECONDS
            failures = 0 if self._has_met and is_steady else min(failures + 1, 16)
            longest = LONGEST_PAUSE_SECONDS if self._has_met else STRANGERS_PAUSE_SECONDS
            pause = min(FIRST_PAUSE_SECONDS * 2.0**failures, longest)
            await asyncio.sleep(pause * (0.5 + 0.5 * self._jitter()))

    async def _look(self) -> Finding:
        """Connect, and stay for as long as it is there."""
        try:
            async with asyncio.timeout(self._answer_seconds) as limit:
                async with self._http.get(self._url, allow_redirects=False) as answer:
                    answer.raise_for_status()
                    async for line in answer.content:
                        if (hello := Hello.parse(line)) != self._expected:
                            is_successor = hello.name == self._expected.name
                            return Finding.REPLACED if is_successor else Finding.UNCLEAR
                        limit.reschedule(None)
                        self._meet()
        except BROKEN as error:  # TimeoutError is an OSError
            return Finding.REFUSED if is_refusal(error) else Finding.UNCLEAR
        return Finding.UNCLEAR

    def _meet(self) -> None:
        if not self._has_met:
            self._has_met = True
            self._on_met()


def is_refusal(error: Exception) -> bool:
    """Of a connection: the machine is there, and nobody listens."""
    return isinstance(error, OSError) and error.errno == errno.ECONNREFUSED
