"""Watching: what there is, then what changes, as NDJSON lines.

The lines are level-triggered: of several quick changes to one object only the last may be told,
and a change that shows in no view is not told at all. A SYNC line says that everything up to its
revision has been told; a watch that broke is resumed from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from orchestrator.api.context import Api
from orchestrator.api.errors import HistoryGone
from orchestrator.api.feeds import FEEDS
from orchestrator.api.problems import problem_of
from orchestrator.api.queries import WatchQuery
from orchestrator.api.requests import adapter
from orchestrator.api.responses import Write
from orchestrator.api.shown import Look, Shown
from orchestrator.cluster.view import ClusterView
from orchestrator.model.answers import WatchType
from orchestrator.process.problems import ProblemDetails

CHUNK_BYTES = 64 * 1024
"""What is sent at once. Between two chunks others get a turn: a list may be long."""


async def watch(api: Api, request: web.Request, query: WatchQuery) -> web.StreamResponse:
    """Raises `HistoryGone` when it cannot be resumed from `from_revision`."""
    watcher = Watcher(api.view, query, api.shown)
    if query.from_revision is None:
        ids = watcher.listed()
    else:
        await api.caught_up(query.from_revision)
        ids = watcher.touched(api.journal.keys_after_revision(query.from_revision))
    position, revision = api.journal.position, api.view.revision

    async def produce(write: Write) -> None:
        await _tell(watcher, ids, revision, write)
        try:
            await _follow(api, watcher, position, write)
        except HistoryGone as gone:
            problem = adapter(ProblemDetails).dump_json(problem_of(gone))
            await write(_line(WatchType.ERROR, api.view.revision, problem=problem))

    return await api.streams.answer(request, produce)


async def _follow(api: Api, watcher: Watcher, position: int, write: Write) -> None:
    while True:
        if await api.journal.beyond(position, timeout_seconds=api.heartbeat_seconds):
            ids = watcher.touched(api.journal.keys_after(position))
        else:
            ids = watcher.ageing()
        position, revision = api.journal.position, api.view.revision
        await _tell(watcher, ids, revision, write)


async def _tell(watcher: Watcher, ids: Iterable[Any], revision: int, write: Write) -> None:
    lines = bytearray()
    for id_ in ids:
        lines += watcher.line(id_) or b""
        if len(lines) >= CHUNK_BYTES:
            await write(bytes(lines))
            lines.clear()
            await asyncio.sleep(0)
    await write(bytes(lines) + _line(WatchType.SYNC, revision))


class Watcher:
    """What one client has been told, and so what it has yet to be told."""

    def __init__(self, view: ClusterView, query: WatchQuery, shown: Shown) -> None:
        self._view = view
        self._query = query
        self._shown = shown
        self._feed = FEEDS[query.kind]
        self._is_resumed = query.from_revision is not None
        self._told: dict[Any, Look] = {}

    def listed(self) -> list[Any]:
        return self._feed.ids(self._view.state)

    def touched(self, keys: Iterable[str]) -> list[Any]:
        """The objects that may look different after `keys` have changed, each once."""
        return self._shown.touched(self._feed, tuple(keys))

    def ageing(self) -> list[Any]:
        return list(self._feed.ageing(self._view.state))

    def line(self, id_: Any) -> bytes | None:
        """How an object is told of; None if there is nothing that this client lacks.

        On a resumed watch nobody knows what the client has: what is there comes as MODIFIED, what
        is not as DELETED.
        """
        look, told = self._shown.look(self._feed, id_), self._told.get(id_)
        is_known = told is not None or not self._is_resumed
        either = look or told
        if (look is told and is_known) or not self._feed.fits(
            id_, either.shown if either else None, self._query
        ):
            return None
        revision = self._view.revision
        if look is None:
            last = self._told.pop(id_, None) or Look(self._feed.identity(id_), revision)
            return _line(WatchType.DELETED, revision, last.json)
        self._told[id_] = look
        kind = WatchType.MODIFIED if told or self._is_resumed else WatchType.ADDED
        return _line(kind, revision, look.json)


def _line(kind: WatchType, revision: int, shown: bytes = b"", *, problem: bytes = b"") -> bytes:
    """A `WatchLine` as it is sent: without the members that it does not have."""
    line = f'{{"type":"{kind}","revision":{revision}'.encode()
    if shown:
        line += b',"object":' + shown
    if problem:
        line += b',"problem":' + problem
    return line + b"}\n"
