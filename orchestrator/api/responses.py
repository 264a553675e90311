"""What is sent: JSON, and streams of NDJSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from orchestrator.api.bodies import Outcome, Written
from orchestrator.api.requests import adapter

NDJSON = "application/x-ndjson"
REVISION_HEADER = "X-Revision"

DISCONNECT_POLL_SECONDS = 1.0
"""A client that leaves is noticed by a write; this is for streams with nothing to write."""

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
    """All NDJSON answers that are under way.

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
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                leaving = group.create_task(_until_gone(request))
                await produce(response.write)
                leaving.cancel()
            await response.write_eof()
        except* ConnectionError:
            pass  # the client has left
        finally:
            self._tasks.discard(task)
        return response

    def break_off(self) -> None:
        for task in self._tasks:
            task.cancel()


async def _until_gone(request: web.Request) -> None:
    """Raises `ConnectionResetError` when the client has left."""
    while request.transport is not None:  # noqa: ASYNC110 - aiohttp has no event for it
        await asyncio.sleep(DISCONNECT_POLL_SECONDS)
    raise ConnectionResetError("the client has gone")
