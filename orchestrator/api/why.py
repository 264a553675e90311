"""The handlers that say why: of a workload, and of an instance, be it gone already."""

from __future__ import annotations

from aiohttp import web

from orchestrator.api.context import Api
from orchestrator.api.feeds import EVENTS, concerns
from orchestrator.api.queries import ReadQuery
from orchestrator.api.requests import workload_key
from orchestrator.api.responses import json_answer
from orchestrator.model.answers import Why
from orchestrator.model.errors import StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.model.node import Event
from orchestrator.planning.why import (
    explain_instance,
    explain_workload,
    gone_reasons,
    instance_reasons,
    workload_reasons,
)

MAX_EVENTS = 20


async def why_workload(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    key = workload_key(request)
    reasons = workload_reasons(api.state, key)
    if not reasons:
        raise WorkloadNotFound(f"there is no workload {key}")
    explanation = explain_workload(
        api.state, key, api.view.occupancy, api.scheduler, api.view.clock()
    )
    events = _events(api, str(key))
    return json_answer(Why(api.view.revision, str(key), reasons, explanation, events))


async def why_instance(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    text = request.match_info["name"]
    try:
        name = InstanceName.parse(text)
    except StateError as error:
        raise WorkloadNotFound(str(error)) from None
    place = next(api.state.find_instance(name), None)
    events = _events(api, text)
    if place is not None:
        reasons = instance_reasons(api.state, place)
        explanation = explain_instance(
            api.state, place, api.view.occupancy, api.scheduler, api.view.clock()
        )
        return json_answer(Why(api.view.revision, text, reasons, explanation, events))
    if not events and name.workload_key not in api.state.workloads:
        raise WorkloadNotFound(f"nothing is known of an instance {text}")
    return json_answer(Why(api.view.revision, text, gone_reasons(api.state, name), None, events))


def _events(api: Api, subject: str) -> tuple[Event, ...]:
    """Those of the subject itself, and those that name it."""
    found = [
        event
        for event in (api.state.events[id_].record for id_ in EVENTS.ids(api.state))
        if concerns(event, subject) or subject in event.reason
    ]
    return tuple(found[-MAX_EVENTS:])
