"""What is sent: JSON, and streams of NDJSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import hdrs, web

from orchestrator.api.requests import adapter
from orchestrator.model.answers import Outcome, Written
from orchestrator.process.streams import while_connected

NDJSON = "application/x-ndjson"
REVISION_HEADER = "X-Revision"

Write = Callable[[bytes], Awaitable[None]]


def json_answer(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`value` is one of the dataclasses of `bodies` or `model.views`."""
    return web.Response(
        body=adapter(type(value)).dump_json(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def etag(mod_revision: int) -> dict[str, str]:
    return {"ETag": f'"{mod_revision}"'}


def written_answer(written: Written, *, is_dry_run: bool) -> web.Response:
    is_new = written.outcome is Outcome.CREATED and not is_dry_run
    headers = {REVISION_HEADER: str(written.revision)}
    if written.mod_revision:
        headers |= etag(written.mod_revision)
    return json_answer(written, status=201 if is_new else 200, headers=headers)


class Streams:
    """All answers that are under way and may never end: of NDJSON, and WebSockets.

    When the server stops they are broken off rather than ended, so that no client takes it for
    the end of a log.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def count(self) -> int:
        return len(self._tasks)

    async def answer(
        self, request: web.Request, produce: Callable[[Write], Awaitable[None]]
    ) -> web.StreamResponse:
        """Send what `produce` writes, until it returns or the client goes away."""
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: NDJSON, hdrs.CACHE_CONTROL: "no-store"}
        )
        await response.prepare(request)
        with self.registered():
            async with while_connected(request):
                await produce(response.write)
                await response.write_eof()
        return response

    @contextmanager
    def registered(self) -> Iterator[None]:
        """The body, run by this task, is one of them."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def break_off(self) -> None:
        for task in self._tasks:
            task.cancel()
