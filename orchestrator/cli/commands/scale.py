"""`orc scale`: how many replicas a workload is to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.commands.apply import outcome_line
from orchestrator.cli.options import (
    Count,
    client_command,
    namespace_option,
    timeout_option,
    wait_option,
    workload_key,
)
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting_workload

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.workload import WorkloadKey


@client_command()
@click.argument("workload")
@click.argument("replicas", type=Count(min=0))
@namespace_option
@wait_option
@timeout_option
@click.pass_obj
def scale(
    session: Session,
    *,
    workload: str,
    replicas: int,
    namespace: str | None,
    wait: bool,
    timeout: float,
) -> None:
    """Change how many replicas WORKLOAD has."""
    key = workload_key(workload, namespace)
    session.run(lambda client: _scale(client, key, replicas, timeout if wait else None))


async def _scale(
    client: ApiClient, key: WorkloadKey, replicas: int, wait_seconds: float | None
) -> None:
    async with suggesting_workload(client, key):
        written = await client.scale(key, replicas)
    click.echo(outcome_line(key, written))
    if wait_seconds is not None:
        from orchestrator.cli.waiting import wait_for

        await wait_for(client, [key], wait_seconds, gone=False)
