"""How long to go on asking when what has answered before answers no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from orchestrator.cli.errors import Refused, ServerUnreachable

LIMIT_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 2.0


class Outage:
    """Bears the loss of servers for a while, but not their absence from the start."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._was_answered = False

    def end(self) -> None:
        """There is an answer."""
        self._since = None
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._was_answered = True

    @asynccontextmanager
    async def borne(self) -> AsyncIterator[None]:
        """Around one attempt, to be followed by the next: swallows its failure, after a wait
        that grows, until that makes no more sense. A history that is gone is no failure."""
        try:
            yield
        except ServerUnreachable as error:
            await self._wait_after(error)
        except Refused as error:
            if error.status != HTTPStatus.GONE:
                raise

    async def _wait_after(self, error: ServerUnreachable) -> None:
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if not self._was_answered or now - self._since > LIMIT_SECONDS:
            raise error
        await asyncio.sleep(self._wait_seconds)
        self._wait_seconds = min(2 * self._wait_seconds, _MAX_WAIT_SECONDS)
