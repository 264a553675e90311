"""The handlers that think ahead: what if, critical nodes, rebalancing. They write nothing.

Each works on a copy of the mirror, made between two of its changes, in a thread of its own: it may
take seconds. One at a time, so that whoever asks a lot waits for himself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from orchestrator.api.bodies import CriticalNodeList
from orchestrator.api.context import Api
from orchestrator.api.queries import ReadQuery, RebalanceQuery
from orchestrator.api.requests import read_body
from orchestrator.api.responses import json_answer
from orchestrator.api.suppositions import WhatIfRequest
from orchestrator.planning.critical import critical_nodes
from orchestrator.planning.rebalancing import plan_rebalance
from orchestrator.planning.simulation import Brain, Scene
from orchestrator.planning.whatif import simulate
from orchestrator.scheduler.vector import VectorScheduler

T = TypeVar("T")


async def what_if(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    hypotheses = (await read_body(request, WhatIfRequest)).hypotheses()
    now, brain = api.view.clock(), _brain(api)
    forecast = await on_a_copy(api, partial(simulate, now=now, brain=brain, hypotheses=hypotheses))
    return json_answer(forecast)


async def list_critical_nodes(api: Api, _request: web.Request, _query: ReadQuery) -> web.Response:
    revision = api.view.revision
    found = await on_a_copy(api, partial(critical_nodes, now=api.view.clock(), brain=_brain(api)))
    return json_answer(CriticalNodeList(revision, found))


async def show_rebalance(api: Api, _request: web.Request, query: RebalanceQuery) -> web.Response:
    target = round(10 * query.target_percent)
    planned = await on_a_copy(
        api,
        partial(
            plan_rebalance,
            scheduler=api.scheduler,
            target=target,
            max_moves=query.max_moves,
        ),
    )
    return json_answer(planned)


async def on_a_copy(api: Api, think: Callable[[Scene], T]) -> T:
    async with api.simulating:
        return await asyncio.to_thread(think, Scene(api.state, api.view.occupancy).fork())


def _brain(api: Api) -> Brain:
    scheduler = api.scheduler
    has_filters = isinstance(scheduler, VectorScheduler) and bool(scheduler.filters)
    return Brain(scheduler, has_filters, api.mass_loss_fraction)
