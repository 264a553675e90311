"""`orc describe`: everything about one workload, instance or node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli.columns import Setting, hosts_of
from orchestrator.cli.kinds import Kind, KindParam
from orchestrator.cli.options import client_command, namespace_option, workload_key
from orchestrator.cli.output import paint
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting, suggesting_workload

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.workload import WorkloadKey

SHOWN_EVENTS = 20


@client_command()
@click.argument("kind", type=KindParam(Kind.WORKLOADS, Kind.INSTANCES, Kind.NODES))
@click.argument("name")
@namespace_option
@click.pass_obj
def describe(session: Session, kind: Kind, name: str, namespace: str | None) -> None:
    """Show all about one workload, instance or node."""

    async def work(client: ApiClient) -> str:
        if kind is Kind.WORKLOADS:
            return await _workload(client, workload_key(name, namespace))
        return await (_instance if kind is Kind.INSTANCES else _node)(client, name)

    click.echo(session.run(work))


async def _workload(client: ApiClient, key: WorkloadKey) -> str:
    from orchestrator.cli.descriptions import describe_workload

    async with suggesting_workload(client, key):
        workload = await client.workload(key)
    instances = await client.instances(namespace=key.namespace, workload=key.name)
    events = await client.events(namespace=key.namespace, subject=key.name, limit=SHOWN_EVENTS)
    setting = await setting_of(client)
    return describe_workload(workload, instances.items, events.items, setting, paint)


async def _instance(client: ApiClient, name: str) -> str:
    from orchestrator.cli.descriptions import describe_instance

    async with suggesting(client, Kind.INSTANCES, name):
        instance = await client.instance(name)
    events = await client.events(subject=name, limit=SHOWN_EVENTS)
    return describe_instance(instance, events.items, await setting_of(client), paint)


async def _node(client: ApiClient, name: str) -> str:
    from orchestrator.cli.descriptions import describe_node

    async with suggesting(client, Kind.NODES, name):
        node = await client.node(name)
    instances = await client.instances(node=name)
    events = await client.events(subject=name, limit=SHOWN_EVENTS)
    return describe_node(node, instances.items, events.items, await setting_of(client), paint)


async def setting_of(client: ApiClient) -> Setting:
    return Setting(time.time(), hosts_of((await client.nodes()).items))
