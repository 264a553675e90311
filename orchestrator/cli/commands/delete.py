"""`orc delete`: workloads that are no longer wanted, and nodes that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.commands.frame import client_command
from orchestrator.cli.errors import Misuse, NotFound
from orchestrator.cli.kinds import Kind, KindParam
from orchestrator.cli.manifests import read_manifests
from orchestrator.cli.near import meaning, meaning_workload
from orchestrator.cli.options import (
    files_option,
    namespace_option,
    timeout_option,
    wait_option,
    workload_key,
)
from orchestrator.cli.progress import progress
from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.workload import WorkloadKey


@client_command()
@click.argument("kind", type=KindParam(Kind.WORKLOADS, Kind.NODES), required=False)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@files_option
@namespace_option
@click.option("--ignore-not-found", is_flag=True, help="What is not there is as good as deleted.")
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
            raise Misuse("there is nothing to --wait for when a node is forgotten")
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
    """All that are there are deleted before one that is missing is complained of."""
    missing: NotFound | None = None
    for key in keys:
        try:
            async with meaning_workload(client, key):
                await client.delete_workload(key)
        except NotFound as error:
            missing = missing or error
        else:
            click.echo(f"workload {key} deleted")
    if missing and not ignores_missing:
        raise missing
    if wait_seconds is not None:
        await _wait_until_gone(client, keys, wait_seconds)


async def _wait_until_gone(client: ApiClient, keys: Sequence[WorkloadKey], seconds: float) -> None:
    from orchestrator.cli.waiting import Wait

    with progress() as say:
        wait = Wait(client, seconds, say)
        for key in keys:
            await wait.until_gone(key)
    for key in keys:
        click.echo(f"workload {key} is gone")


async def _delete_nodes(client: ApiClient, names: Sequence[str], ignores_missing: bool) -> None:
    missing: NotFound | None = None
    for name in names:
        try:
            async with meaning(client, Kind.NODES, name):
                await client.delete_node(name)
        except NotFound as error:
            missing = missing or error
        else:
            click.echo(f"node {name} deleted")
    if missing and not ignores_missing:
        raise missing
