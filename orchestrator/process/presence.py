"""`Presence`: what a process says of itself to whoever holds a connection to it.

`GET /presence` answers a line, `{"name": "c1", "lease_id": 42}`, and repeats it now and then for as
long as the process lives: the connection ends when the process does. `vigil` is the other side.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Self

from aiohttp import hdrs, web

from orchestrator.process.streams import while_connected

PATH = "/presence"

REPEAT_SECONDS = 15.0
"""Often enough for what is in between not to forget an idle connection."""

MAX_BYTES = 256
"""Of a line that introduces somebody."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Which process this is: no other one ever holds that lease. 0: it holds none."""

    name: str
    lease_id: int

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Raises `ValueError` for what is no such line."""
        match json.loads(line) if len(line) <= MAX_BYTES else None:
            case {"name": str(name), "lease_id": int(lease_id)}:
                return cls(name, lease_id)
        raise ValueError(f"nobody has introduced himself by {line[:60]!r}")


class Presence:
    """This process's, under the `name` that its record in the store has."""

    def __init__(self, name: str) -> None:
        self._hello = Hello(name, 0)
        self._is_over = asyncio.Event()

    def announce(self, lease_id: int) -> None:
        """Say from now on that this lease is ours. Before anything is put on it."""
        self._hello = Hello(self._hello.name, lease_id)

    def mount(self, app: web.Application) -> None:
        """Serve it in `app`, until that shuts down."""

        async def end(_app: web.Application) -> None:
            self._is_over.set()

        app.router.add_get(PATH, self._hold)
        app.on_shutdown.append(end)

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store"})
        await response.prepare(request)
        async with while_connected(request):
            while not self._is_over.is_set():
                await response.write(self._hello.line())
                await self._pause()
        return response

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(REPEAT_SECONDS):
                await self._is_over.wait()
        except TimeoutError:
            return
