"""`orc scale`: how many replicas a workload is to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.commands.apply import outcome_line, wait_for_running
from orchestrator.cli.commands.frame import client_command
from orchestrator.cli.near import meaning_workload
from orchestrator.cli.options import (
    Count,
    namespace_option,
    timeout_option,
    wait_option,
    workload_key,
)
from orchestrator.cli.session import Session

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
    """Let WORKLOAD have so many REPLICAS."""
    key = workload_key(workload, namespace)
    session.run(lambda client: _scale(client, key, replicas, timeout if wait else None))


async def _scale(
    client: ApiClient, key: WorkloadKey, replicas: int, wait_seconds: float | None
) -> None:
    async with meaning_workload(client, key):
        written = await client.scale(key, replicas)
    click.echo(outcome_line(key, written))
    if wait_seconds is not None:
        await wait_for_running(client, [key], wait_seconds)
