"""Answers that go on for as long as their client listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

INSTANCE_HEADER = "X-Instance"
"""By which an agent says whose log it gives."""

DISCONNECT_POLL_SECONDS = 1.0
"""A client that leaves is noticed by a write; this is for streams with nothing to write."""


@asynccontextmanager
async def while_connected(request: web.Request) -> AsyncIterator[None]:
    """Cancels the body once the client of `request` has left, and then goes on after it.

    A `ConnectionError` of the body, as from writing to a client that is gone, ends it likewise.
    Errors of other kinds come out in an `ExceptionGroup`.
    """
    try:
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_until_gone(request))
            yield
            leaving.cancel()
    except* ConnectionError:
        pass  # the client has left


async def _until_gone(request: web.Request) -> None:
    """Raises `ConnectionResetError` when the client has left."""
    while request.transport is not None:  # noqa: ASYNC110 - aiohttp has no event for it
        await asyncio.sleep(DISCONNECT_POLL_SECONDS)
    raise ConnectionResetError("the client has gone")
