"""Which container a command is for: of an instance, or of one of a workload's that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Refused
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import workload_key
from orchestrator.cli.suggestions import suggesting, suggesting_workload

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.views import WorkloadInstance
    from orchestrator.model.workload import WorkloadKey


def is_instance_name(text: str) -> bool:
    """Whether it is `<namespace>.<workload>.<slot>.<attempt>`: names of workloads have no dots."""
    return text.count(".") == 3


async def find_container(
    client: ApiClient, name: str, namespace: str | None, container: str | None
) -> tuple[str, str | None]:
    """The instance, and the container's name: the first one if none is named, which is said where
    there are others. None: the node knows. Raises `NotFound`, and `Refused` if none runs."""
    if is_instance_name(name):
        async with suggesting(client, Kind.INSTANCES, name):
            instance = await client.instance(name)
    else:
        instance = await _first_running(client, workload_key(name, namespace))
    names = [each.name for each in instance.containers]
    if container is None and len(names) > 1:
        click.echo(f"container {names[0]} (of {', '.join(names)}; choose by -c)", err=True)
    return instance.name, container or next(iter(names), None)


async def _first_running(client: ApiClient, key: WorkloadKey) -> WorkloadInstance:
    from orchestrator.model.instance import WorkloadInstanceStatus

    async with suggesting_workload(client, key):
        await client.workload(key)
    listing = await client.instances(namespace=key.namespace, workload=key.name)
    running = [each for each in listing.items if each.status is WorkloadInstanceStatus.RUNNING]
    if not running:
        raise Refused(f"no instance of workload {key} runs: `orc why {key}` says what keeps them")
    return min(running, key=lambda each: (each.slot, each.attempt))
