"""`orc delete`: workloads that are no longer wanted, and nodes that are gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.cli.errors import Misuse, NotFound
from orchestrator.cli.kinds import Kind, KindParam
from orchestrator.cli.manifests import read_manifests
from orchestrator.cli.options import (
    client_command,
    files_option,
    namespace_option,
    timeout_option,
    wait_option,
    workload_key,
)
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting, suggesting_workload

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.workload import WorkloadKey

T = TypeVar("T")


@client_command()
@click.argument("kind", type=KindParam(Kind.WORKLOADS, Kind.NODES), required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@files_option
@namespace_option
@click.option("--ignore-not-found", is_flag=True, help="A name that is not there is no error.")
@wait_option
@timeout_option
@click.pass_obj
def delete(
    session: Session,
    *,
    kind: Kind | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    namespace: str | None,
    ignore_not_found: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Stop and forget workloads, or forget a node.

    Say `workload NAME`, -f for those in a manifest, or `node NAME` for a node whose agent is gone
    for good.
    """
    if kind is Kind.NODES and names and not files:
        if wait:
            raise Misuse("a node is forgotten at once: leave out --wait")
        session.run(lambda client: _delete_nodes(client, names, ignore_not_found))
        return
    keys = _workloads(kind, names, files, namespace)
    wait_seconds = timeout if wait else None
    session.run(lambda client: _delete_workloads(client, keys, ignore_not_found, wait_seconds))


def _workloads(
    kind: Kind | None, names: Sequence[str], files: Sequence[str], namespace: str | None
) -> list[WorkloadKey]:
    if bool(names) == bool(files) or (files and kind):
        raise Misuse("say what to delete: `workload NAME`, `node NAME`, or -f FILE")
    if files:
        return [definition.key for definition in read_manifests(files)]
    return [workload_key(name, namespace) for name in names]


async def _delete_workloads(
    client: ApiClient,
    keys: Sequence[WorkloadKey],
    ignores_missing: bool,
    wait_seconds: float | None,
) -> None:
    async def delete_one(key: WorkloadKey) -> None:
        async with suggesting_workload(client, key):
            await client.delete_workload(key)

    await _delete_each("workload", keys, delete_one, ignores_missing)
    if wait_seconds is not None:
        from orchestrator.cli.waiting import wait_for

        await wait_for(client, keys, wait_seconds, gone=True)


async def _delete_nodes(client: ApiClient, names: Sequence[str], ignores_missing: bool) -> None:
    async def delete_one(name: str) -> None:
        async with suggesting(client, Kind.NODES, name):
            await client.delete_node(name)

    await _delete_each("node", names, delete_one, ignores_missing)


async def _delete_each(
    kind: str, each: Iterable[T], delete_one: Callable[[T], Awaitable[None]], ignores_missing: bool
) -> None:
    """Deletes all that are there; only then the first that is missing is an error."""
    missing: NotFound | None = None
    for name in each:
        try:
            await delete_one(name)
        except NotFound as error:
            missing = missing or error
        else:
            click.echo(f"{kind} {name} deleted")
    if missing and not ignores_missing:
        raise missing
