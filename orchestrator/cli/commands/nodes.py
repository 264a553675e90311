"""`orc cordon`, `orc uncordon`, `orc declare-lost`: what an operator decides for a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import client_command
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient


@client_command()
@click.argument("node")
@click.pass_obj
def cordon(session: Session, node: str) -> None:
    """Place nothing new on NODE; what runs there stays."""
    session.run(lambda client: _set_availability(client, node, "cordoned"))


@client_command()
@click.argument("node")
@click.pass_obj
def uncordon(session: Session, node: str) -> None:
    """Allow new instances on NODE again."""
    session.run(lambda client: _set_availability(client, node, "active"))


@client_command("declare-lost")
@click.argument("node")
@click.option("--undo", is_flag=True, help="Take it back.")
@click.pass_obj
def declare_lost(session: Session, node: str, undo: bool) -> None:
    """Declare that nothing runs on NODE any more.

    Its instances are then replaced elsewhere, also those of workloads with `on_node_lost: wait`.
    Be sure of it: switch the machine off first.
    """
    session.run(lambda client: _declare_lost(client, node, is_lost=not undo))


async def _set_availability(client: ApiClient, node: str, availability: str) -> None:
    from orchestrator.model.node import Availability

    async with suggesting(client, Kind.NODES, node):
        written = await client.set_availability(node, Availability(availability))
    so_already = " already" if written.outcome == "unchanged" else ""
    click.echo(f"node {node} is{so_already} {availability}")


async def _declare_lost(client: ApiClient, node: str, *, is_lost: bool) -> None:
    async with suggesting(client, Kind.NODES, node):
        await client.declare_lost(node, is_lost=is_lost)
    click.echo(f"node {node} is {'' if is_lost else 'no longer '}declared lost")
