"""`orc cordon`, `uncordon`, `drain`, `taint`, `declare-lost`: what operators decide for a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import client_command, timeout_option, wait_option
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.placement import Taint


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
    """Allow new instances on NODE again; this ends a drain, too."""
    session.run(lambda client: _set_availability(client, node, "active"))


@client_command()
@click.argument("node")
@wait_option
@timeout_option
@click.pass_obj
def drain(session: Session, *, node: str, wait: bool, timeout: float) -> None:
    """Move all instances away from NODE, and place none there.

    It lasts until `orc uncordon NODE`. No workload falls below its `min_available` for it. With
    --wait, the node is empty when the command ends.
    """
    session.run(lambda client: _drain(client, node, timeout if wait else None))


@client_command()
@click.argument("node")
@click.argument("taints", metavar="TAINT...", nargs=-1, required=True)
@click.pass_obj
def taint(session: Session, node: str, taints: tuple[str, ...]) -> None:
    """Keep off NODE what does not tolerate a TAINT, or undo it.

    A TAINT is KEY=VALUE:EFFECT or KEY:EFFECT, and with a - behind it is taken away; KEY- takes
    away all of that key. EFFECT is NoSchedule, PreferNoSchedule, or NoExecute, which also moves
    what runs there already.
    """
    from orchestrator.cli.taints import read_taints

    added, removed = read_taints(taints)
    session.run(lambda client: _taint(client, node, added, removed))


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


async def _drain(client: ApiClient, node: str, wait_seconds: float | None) -> None:
    await _set_availability(client, node, "draining")
    if wait_seconds is not None:
        from orchestrator.cli.waiting import wait_for_drain

        await wait_for_drain(client, node, wait_seconds)


async def _taint(
    client: ApiClient, node: str, added: Sequence[Taint], removed: Sequence[str]
) -> None:
    async with suggesting(client, Kind.NODES, node):
        written = await client.taint(node, added, removed)
    changes = f" ({', '.join(written.changes)})" if written.changes else ""
    click.echo(f"node {node} {written.outcome}{changes}")


async def _declare_lost(client: ApiClient, node: str, *, is_lost: bool) -> None:
    async with suggesting(client, Kind.NODES, node):
        await client.declare_lost(node, is_lost=is_lost)
    click.echo(f"node {node} is {'' if is_lost else 'no longer '}declared lost")
