"""Local volumes: listed from the rows of their nodes, measured and deleted by their agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from aiohttp import web

from orchestrator.api.agents import BROKEN, agent_of
from orchestrator.api.bodies import VolumeList
from orchestrator.api.context import Api
from orchestrator.api.queries import Query, VolumesQuery
from orchestrator.api.responses import json_answer
from orchestrator.model.answers import Outcome, Written
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import OrchestrationError, StateError, WorkloadNotFound
from orchestrator.model.keys import VolumePlace
from orchestrator.model.missing import no_such_node
from orchestrator.model.views import status_of
from orchestrator.model.volume import ListedVolume, VolumeName

MEASURE_SECONDS = 4.0
"""How long agents may read their volumes: clients do not wait much longer."""

BYTES_A_MB = 1_000_000


async def list_volumes(api: Api, _request: web.Request, query: VolumesQuery) -> web.Response:
    state = api.state
    items = [
        _listed(state, place)
        for place in sorted(state.volumes)
        if query.namespace in ("", place.volume.namespace)
        and query.workload in ("", place.volume.workload)
        and query.node in ("", place.node)
    ]
    if query.sizes:
        items = await _measured(api, items)
    return json_answer(VolumeList(api.view.revision, tuple(items)))


async def remove_volume(api: Api, request: web.Request, _query: Query) -> web.Response:
    """Its data are lost. Raises `StateError` while an instance has it."""
    node, name = request.match_info["node"], request.match_info["name"]
    if node not in api.state.node_names():
        raise no_such_node(api.state, node)
    place = VolumePlace(node, _parsed(name))
    if users := _users(api.state, place):
        raise StateError(
            f"volume {name} is in use by {', '.join(users)}: delete or scale down its workload"
            " first"
        )
    async with await agent_of(api, node).ask("DELETE", f"/v1/volumes/{place.volume}"):
        written = Written(api.view.revision, Outcome.DELETED)
    return json_answer(written)


def _parsed(name: str) -> VolumeName:
    try:
        return VolumeName.parse(name)
    except StateError as error:
        raise WorkloadNotFound(str(error)) from None


def _listed(state: ClusterState, place: VolumePlace) -> ListedVolume:
    row, name = state.volumes[place].record, place.volume
    return ListedVolume(
        name=str(name),
        namespace=name.namespace,
        workload=name.workload,
        node=place.node,
        created_at=row.created_at,
        used_by=_users(state, place),
        size_mb=row.size_mb,
        note=row.note,
    )


def _users(state: ClusterState, place: VolumePlace) -> tuple[str, ...]:
    return tuple(
        str(each.instance)
        for each in sorted(state.places_of(place.volume.workload_key))
        if each.node == place.node
        and each.instance.slot == place.volume.slot
        and not status_of(state, each).is_finished
    )


async def _measured(api: Api, items: Iterable[ListedVolume]) -> list[ListedVolume]:
    """With their sizes, where the agent says them in time."""
    items = list(items)
    nodes = sorted({each.node for each in items})
    async with asyncio.TaskGroup() as group:
        tasks = {node: group.create_task(_sizes_on(api, node)) for node in nodes}
    return [_with_size(each, tasks[each.node].result()) for each in items]


def _with_size(volume: ListedVolume, sizes: Mapping[str, float] | str) -> ListedVolume:
    if isinstance(sizes, str):
        return replace(volume, note=sizes)
    return replace(volume, size_mb=sizes.get(volume.name, volume.size_mb))


async def _sizes_on(api: Api, node: str) -> Mapping[str, float] | str:
    """In MB by name, or why there are none."""
    agent = agent_of(api, node)
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            async with await agent.get("/v1/volumes", {"sizes": "true"}, MEASURE_SECONDS) as answer:
                found = json.loads(await answer.read())["items"]
        return {each["name"]: each["size_bytes"] / BYTES_A_MB for each in found}
    except OrchestrationError as error:
        return str(error)
    except (KeyError, TypeError):
        return f"node {node} gave an answer that makes no sense: see what is at {agent.address}"
    except BROKEN as error:
        return str(agent.unreachable(error))
