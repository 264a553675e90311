"""The images of nodes: asked of their agents, and passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import aiohttp
from aiohttp import web
from pydantic import ValidationError

from orchestrator.api.agents import ANSWER_SECONDS, BROKEN, NodeAgent, agent_of
from orchestrator.api.bodies import StoredImageList
from orchestrator.api.context import Api
from orchestrator.api.queries import ImageQuery, Query, ReadQuery
from orchestrator.api.requests import adapter, node_name
from orchestrator.api.responses import Write, json_answer
from orchestrator.model.errors import NetworkError
from orchestrator.model.missing import no_such_node
from orchestrator.model.stored_image import DeletedImages, PullLine, StoredImage

DELETE_SECONDS = 170.0
"""For the agent to have deleted files; clients do not wait much longer."""

T = TypeVar("T")


async def list_images(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    agent = _agent(api, request)
    answer = await agent.get("/v1/images", {})
    found = await _read(agent, answer, dict[str, tuple[StoredImage, ...]])
    return json_answer(StoredImageList(api.view.revision, found.get("items", ())))


async def pull_image(api: Api, request: web.Request, query: ImageQuery) -> web.StreamResponse:
    """It goes on for as long as the client listens."""
    agent = _agent(api, request)
    answer = await agent.ask("POST", "/v1/images", {"image": query.image})
    async with answer, aclosing(_lines(agent, answer)) as lines:

        async def produce(write: Write) -> None:
            async for line in lines:
                await write(line)

        return await api.streams.answer(request, produce)


async def remove_image(api: Api, request: web.Request, query: ImageQuery) -> web.Response:
    """Raises `StateError` if a container has it."""
    agent = _agent(api, request)
    answer = await agent.ask("DELETE", "/v1/images", {"image": query.image}, DELETE_SECONDS)
    return json_answer(await _read(agent, answer, DeletedImages))


async def prune_images(api: Api, request: web.Request, _query: Query) -> web.Response:
    agent = _agent(api, request)
    answer = await agent.ask("POST", "/v1/images/prune", {}, DELETE_SECONDS)
    return json_answer(await _read(agent, answer, DeletedImages))


def _agent(api: Api, request: web.Request) -> NodeAgent:
    node = node_name(request)
    if node not in api.state.node_names():
        raise no_such_node(api.state, node)
    return agent_of(api, node)


async def _read(agent: NodeAgent, answer: aiohttp.ClientResponse, form: type[T]) -> T:
    try:
        async with answer, asyncio.timeout(ANSWER_SECONDS):
            value: T = adapter(form).validate_json(await answer.read())
    except ValidationError:
        raise NetworkError(
            f"node {agent.node} gave an answer that makes no sense: see what is at {agent.address}"
        ) from None
    except BROKEN as error:
        raise agent.unreachable(error) from None
    return value


async def _lines(agent: NodeAgent, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """As the agent sends them; if that breaks off, the last one says so."""
    try:
        async for line in answer.content:
            yield line
    except BROKEN as error:
        broken = PullLine(problem=str(agent.unreachable(error)))
        yield adapter(PullLine).dump_json(broken) + b"\n"
