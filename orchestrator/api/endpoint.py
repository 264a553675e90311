"""`Endpoint`: one row of the API's table: what is asked for, what it takes and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from orchestrator.api.context import Api
from orchestrator.api.problems import problem_of
from orchestrator.api.queries import Query, ReadQuery
from orchestrator.api.requests import read_query
from orchestrator.model.errors import OrchestrationError
from orchestrator.process.problems import problem_response
from store.errors import StoreError

Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q]):
    """`answer` is the type of the body, or of each line of a stream; `body` of what is sent. Of a
    WebSocket (`is_socket`) they are of its last frame and of its first one.

    `needs_state`: it must not be answered before this replica has read the store.
    """

    method: str
    path: str
    summary: str
    query: type[Q]
    handle: Callable[[Api, web.Request, Q], Awaitable[web.StreamResponse]]
    answer: Any
    body: Any = None
    is_stream: bool = False
    is_socket: bool = False
    needs_state: bool = True
    may_create: bool = False

    def route(self, api: Api) -> web.RouteDef:
        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                return await self._answer(api, request)
            except (OrchestrationError, StoreError) as error:
                return problem_response(problem_of(error))

        if self.method == "GET":
            return web.get(self.path, handler, allow_head=not (self.is_stream or self.is_socket))
        return web.route(self.method, self.path, handler)

    async def _answer(self, api: Api, request: web.Request) -> web.StreamResponse:
        query = read_query(self.query, request)
        min_revision = query.min_revision if isinstance(query, ReadQuery) else 0
        if self.needs_state or min_revision:
            await api.caught_up(min_revision)
        return await self.handle(api, request, query)
