"""Logs of attempts that are over: looked for on the nodes where they may have run.

Nothing in the store says where an attempt was once its record is gone. So the nodes that the slot
is known to have been on are asked first, and then all others that can be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack

from orchestrator.api.context import Api
from orchestrator.api.log_sources import Source, open_all
from orchestrator.api.queries import LogsQuery
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.errors import NetworkError, StateError, WorkloadNotFound
from orchestrator.model.instance import InstanceName
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import WorkloadKey

ASKED_AT_ONCE = 64


async def open_over(
    api: Api, instance: InstanceName, query: LogsQuery, stack: AsyncExitStack
) -> Source:
    """The kept log of an instance without a record, or with `previous` of the newest attempt in
    its slot before it. Raises `WorkloadNotFound` if no node has one."""
    silent: list[str] = []
    async for places in _batches(api.state, instance):
        sources = await open_all(api, places, query, stack)
        found = [source for source in sources if source.error is None]
        if found:
            return max(found, key=_attempt)
        silent += [each.place.node for each in sources if isinstance(each.error, NetworkError)]
    raise _nothing(instance, query, silent)


async def open_previous_of(
    api: Api, key: WorkloadKey, query: LogsQuery, stack: AsyncExitStack
) -> list[Source]:
    """For each slot of a workload that is there, the attempt before its newest one.

    Raises `WorkloadNotFound` if there is none of any.
    """
    newest: dict[int, InstanceName] = {}
    for place in api.state.places_of(key):
        name = place.instance
        newest[name.slot] = max(name, newest.get(name.slot, name))

    async def opened(name: InstanceName) -> Source | None:
        try:
            return await open_over(api, name, query, stack)
        except WorkloadNotFound:
            return None

    sources = await asyncio.gather(*map(opened, newest.values()))
    found = [source for source in sources if source is not None]
    if not found:
        raise WorkloadNotFound(
            f"no node has a log of an earlier attempt of workload {key}: none has been replaced,"
            " or it was too long ago"
        )
    return found


async def _batches(
    state: ClusterState, instance: InstanceName
) -> AsyncIterator[list[InstancePlace]]:
    """Where to look, the likely places first."""
    likely = _known_nodes(state, instance)
    yield [InstancePlace(node, instance) for node in likely]
    others = [node for node in sorted(state.sessions) if node not in likely]
    for begin in range(0, len(others), ASKED_AT_ONCE):
        batch = others[begin : begin + ASKED_AT_ONCE]
        yield [InstancePlace(node, instance) for node in batch]


def _known_nodes(state: ClusterState, instance: InstanceName) -> list[str]:
    """Where attempts of the slot are, or have failed."""
    nodes: dict[str, None] = {}
    for place in state.places_of(instance.workload_key):
        if place.instance.slot == instance.slot:
            nodes |= dict.fromkeys((place.node, *state.assignments[place].record.failed_on))
    return list(nodes)


def _attempt(source: Source) -> int:
    try:
        return InstanceName.parse(source.instance).attempt
    except StateError:
        return -1


def _nothing(instance: InstanceName, query: LogsQuery, silent: Iterable[str]) -> WorkloadNotFound:
    of = f"an attempt before {instance}" if query.previous else str(instance)
    of += f" with a container {query.container!r}" if query.container else ""
    unasked = ", ".join(sorted(silent))
    told = f"; not asked, for they cannot be reached: {unasked}" if unasked else ""
    return WorkloadNotFound(
        f"no node has a log of {of}: there was none, or it was too long ago{told}"
    )
