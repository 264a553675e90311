"""What the containers of the cluster use now: every agent is asked at once."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pydantic import ValidationError

from orchestrator.api.agents import BROKEN, agent_of
from orchestrator.api.bodies import UsageList
from orchestrator.api.context import Api
from orchestrator.api.queries import UsageQuery
from orchestrator.api.requests import adapter
from orchestrator.api.responses import json_answer
from orchestrator.model.errors import OrchestrationError
from orchestrator.model.missing import no_such_node
from orchestrator.model.usage import NodeUsage

LIMIT_SECONDS = 3.0
ASKED_AT_ONCE = 64


async def show_usage(api: Api, _request: web.Request, query: UsageQuery) -> web.Response:
    """Of all nodes; one that does not answer in time says so in its `problem`."""
    names = api.state.node_names()
    if query.node:
        if query.node not in names:
            raise no_such_node(api.state, query.node)
        names = [query.node]
    turns = asyncio.Semaphore(ASKED_AT_ONCE)

    async def asked(node: str) -> NodeUsage:
        async with turns:
            return await _usage_of(api, node)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked(node)) for node in names]
    return json_answer(UsageList(api.view.revision, tuple(task.result() for task in tasks)))


async def _usage_of(api: Api, node: str) -> NodeUsage:
    if node not in api.state.sessions:
        return NodeUsage(node, problem="its agent's session has ended")
    agent = agent_of(api, node)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            async with await agent.get("/v1/usage", {}, LIMIT_SECONDS) as response:
                answer: NodeUsage = adapter(NodeUsage).validate_json(await response.read())
                return answer
    except OrchestrationError as error:
        return NodeUsage(node, problem=str(error))
    except ValidationError:
        return NodeUsage(
            node, problem=f"its answer makes no sense: see what listens at {agent.address}"
        )
    except BROKEN as error:
        return NodeUsage(node, problem=str(agent.unreachable(error)))
