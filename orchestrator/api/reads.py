"""The read handlers: views of this replica's mirror, as they are."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from operator import itemgetter

from aiohttp import web

from orchestrator.api.bodies import EventList, InstanceList, NodeList, WorkloadList
from orchestrator.api.context import Api
from orchestrator.api.feeds import EVENTS, INSTANCES, NODES, WORKLOADS, concerns
from orchestrator.api.queries import EventsQuery, InstancesQuery, ReadQuery, WorkloadsQuery
from orchestrator.api.requests import node_name, workload_key
from orchestrator.api.responses import etag, json_answer
from orchestrator.model.answers import ClusterSummary, DamagedRecord, Waiting
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.damage import shown
from orchestrator.model.errors import StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.missing import no_such_node
from orchestrator.model.views import instance_of, node_of, status_of, workload_of

MAX_DAMAGED = 100
"""Records in one answer: somebody may put any number of keys under our prefix."""


async def list_workloads(api: Api, _request: web.Request, query: WorkloadsQuery) -> web.Response:
    state = api.state
    items = tuple(
        workload_of(state, key)
        for key in WORKLOADS.ids(state)
        if query.namespace in ("", key.namespace)
    )
    return json_answer(WorkloadList(api.view.revision, items))


async def show_workload(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    key = workload_key(request)
    workload = WORKLOADS.show(api.state, key, api.view.clock())
    if workload is None:
        raise WorkloadNotFound(f"there is no workload {key}")
    return json_answer(workload, headers=etag(workload.mod_revision))


async def list_instances(api: Api, _request: web.Request, query: InstancesQuery) -> web.Response:
    state = api.state
    items = tuple(
        instance_of(state, place)
        for place in INSTANCES.ids(state)
        if query.namespace in ("", place.instance.namespace)
        and query.workload in ("", place.instance.workload)
        and query.node in ("", place.node)
    )
    return json_answer(InstanceList(api.view.revision, items))


async def show_instance(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    place = find_place(api.state, request.match_info["name"])
    return json_answer(instance_of(api.state, place))


async def list_nodes(api: Api, _request: web.Request, _query: ReadQuery) -> web.Response:
    state, now = api.state, api.view.clock()
    items = tuple(node_of(state, name, now) for name in NODES.ids(state))
    return json_answer(NodeList(api.view.revision, items))


async def show_node(api: Api, request: web.Request, _query: ReadQuery) -> web.Response:
    name = node_name(request)
    node = NODES.show(api.state, name, api.view.clock())
    if node is None:
        raise no_such_node(api.state, name)
    desired = api.state.desired_nodes.get(name)
    return json_answer(node, headers=etag(desired.mod_revision if desired else 0))


async def list_events(api: Api, _request: web.Request, query: EventsQuery) -> web.Response:
    state = api.state
    events = [
        event
        for event in (state.events[id_].record for id_ in EVENTS.ids(state))
        if query.namespace in ("", event.namespace)
        and (not query.subject or concerns(event, query.subject))
    ]
    return json_answer(EventList(api.view.revision, tuple(events[-query.limit :])))


async def show_cluster(api: Api, _request: web.Request, _query: ReadQuery) -> web.Response:
    state, view = api.state, api.view
    now, heard = view.clock(), view.mirror.last_heard
    waiting = (
        Waiting(str(key), reason)
        for key, entry in sorted(state.statuses.items())
        for reason in entry.record.waiting
    )
    damaged = (
        DamagedRecord(shown(key), damage.sentence, damage.mod_revision)
        for key, damage in islice(sorted(state.damaged.items(), key=itemgetter(0)), MAX_DAMAGED)
    )
    summary = ClusterSummary(
        replica=api.replica,
        address=api.address,
        revision=view.revision,
        is_synced=view.is_synced,
        silent_seconds=None if heard is None else max(0.0, now - heard),
        leader=state.leader.record if state.leader else None,
        workloads=len(state.workloads),
        instances=Counter(status_of(state, place) for place in state.assignments),
        nodes=Counter(node_of(state, name, now).status for name in state.node_names()),
        waiting=tuple(waiting),
        damaged=tuple(damaged),
        warnings=tuple(api.warnings()),
    )
    return json_answer(summary)


def find_place(state: ClusterState, name: str) -> InstancePlace:
    """Where an instance is assigned. Raises `WorkloadNotFound`."""
    try:
        found = sorted(state.find_instance(InstanceName.parse(name)))
    except StateError as error:
        raise WorkloadNotFound(str(error)) from None
    if not found:
        raise WorkloadNotFound(
            f"there is no instance {name} (it may have been replaced): `orc get instances` lists "
            "those that there are"
        )
    return found[0]
