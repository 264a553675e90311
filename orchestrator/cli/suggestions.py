"""`did you mean ...?`, for a name that the cluster does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestrator.cli.errors import NotFound
from orchestrator.cli.kinds import Kind
from orchestrator.model.near_names import near_name
from orchestrator.model.workload import WorkloadKey

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient


@asynccontextmanager
async def suggesting_workload(client: ApiClient, key: WorkloadKey) -> AsyncIterator[None]:
    """Add to a `NotFound` the workload that may have been meant, here or in another namespace."""
    try:
        yield
    except NotFound as error:
        listing = await client.workloads()
        known = [WorkloadKey(each.namespace, each.name) for each in listing.items]
        if key in known:
            raise  # something else was not found
        raise _suggesting(error, _near_key(key, known)) from None


def _near_key(key: WorkloadKey, known: Sequence[WorkloadKey]) -> str | None:
    """The same name elsewhere comes before a similar one here."""
    elsewhere = next((each for each in known if each.name == key.name), None)
    here = [each.name for each in known if each.namespace == key.namespace]
    return str(elsewhere) if elsewhere else near_name(key.name, here)


@asynccontextmanager
async def suggesting(client: ApiClient, kind: Kind, name: str) -> AsyncIterator[None]:
    """Add to a `NotFound` the instance or node that may have been meant."""
    try:
        yield
    except NotFound as error:
        listing = await (client.nodes() if kind is Kind.NODES else client.instances())
        known = [each.name for each in listing.items]
        if name in known:
            raise  # something else was not found
        raise _suggesting(error, near_name(name, known)) from None


def _suggesting(error: NotFound, near: str | None) -> NotFound:
    told = str(error)
    if near is None or "did you mean" in told:
        return error
    return NotFound(f"{told}; did you mean {near!r}?", error.status, error.problems)
