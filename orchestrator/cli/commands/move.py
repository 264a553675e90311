"""`orc move`: have one instance leave its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Misuse
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import client_command
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient


@client_command()
@click.argument("instance")
@click.option("--to", default="", metavar="NODE", help="Where to; without it, the best node.")
@click.option("--undo", is_flag=True, help="Leave it where it is after all.")
@click.pass_obj
def move(session: Session, *, instance: str, to: str, undo: bool) -> None:
    """Have INSTANCE, like default.web.0.1, moved to another node.

    It is stopped as soon as its workload's `min_available` allows it, and a new attempt takes its
    slot on the other node.
    """
    if undo and to:
        raise Misuse("--undo moves nothing: leave out --to")
    session.run(lambda client: _move(client, instance, to, undo))


async def _move(client: ApiClient, instance: str, to: str, undo: bool) -> None:
    async with suggesting(client, Kind.INSTANCES, instance):
        written = await (client.stay(instance) if undo else client.move(instance, to))
    if undo:
        click.echo(f"instance {instance} is not to be moved after all")
        return
    so_already = " already" if written.outcome == "unchanged" else ""
    changes = f" ({', '.join(written.changes)})" if written.changes else ""
    click.echo(f"instance {instance} is to be moved{so_already}{changes}")
