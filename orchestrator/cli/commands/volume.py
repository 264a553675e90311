"""`orc volume`: the data that slots of workloads have on nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.columns import duration_text
from orchestrator.cli.commands.get import chosen_namespace
from orchestrator.cli.errors import Misuse, NotFound
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import (
    EPILOG,
    all_namespaces_option,
    answer_option,
    client_command,
    namespace_option,
    workload_key,
)
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session
from orchestrator.cli.tables import Column, format_table, lines_of
from orchestrator.model.near_names import near_name

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.volume import ListedVolume


@click.group(epilog=EPILOG)
def volume() -> None:
    """Look after local volumes.

    A slot of a workload goes where its volumes are. They stay when its instances end, and when the
    workload is deleted.
    """


@client_command("ls")
@namespace_option
@all_namespaces_option
@click.option("--workload", help="Those of this workload only.")
@click.option("--node", help="Those on this node only.")
@click.option("--sizes", is_flag=True, help="Have the nodes measure them, which may take long.")
@answer_option
@click.pass_obj
def list_volumes(
    session: Session,
    *,
    namespace: str | None,
    all_namespaces: bool,
    workload: str | None,
    node: str | None,
    sizes: bool,
    output: str,
) -> None:
    """Show local volumes, and who uses them."""
    if workload:
        key = workload_key(workload, namespace)
        namespace, workload = key.namespace, key.name
    chosen = chosen_namespace(Kind.WORKLOADS, namespace, is_all=all_namespaces)

    async def work(client: ApiClient) -> None:
        found = await client.volumes(
            namespace=chosen, workload=workload, node=node, with_sizes=sizes
        )
        if output != Format.TABLE:
            click.echo(serialized(found, Format(output)))
        elif found.items:
            click.echo(format_table(lines_of(_COLUMNS, found.items)))
        else:
            click.echo("no volumes" + (f" in namespace {chosen}" if chosen else ""), err=True)

    session.run(work)


@client_command("rm")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--node", help="The node that has it, if several do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(session: Session, *, names: tuple[str, ...], node: str | None, yes: bool) -> None:
    """Delete local volumes that no instance uses, with their data.

    NAME is NAMESPACE.WORKLOAD.SLOT.VOLUME, as `orc volume ls` shows it.
    """
    session.run(lambda client: _remove(client, names, node, yes))


async def _remove(client: ApiClient, names: Sequence[str], node: str | None, is_sure: bool) -> None:
    """All of them are found, and asked about, before the first is deleted."""
    known = (await client.volumes(node=node)).items
    doomed = [_found(known, name, node) for name in names]
    if not is_sure:
        _ask(doomed)
    for each in doomed:
        await client.delete_volume(each.node, each.name)
        click.echo(f"volume {each.name} on {each.node} deleted")


def _found(known: Sequence[ListedVolume], name: str, node: str | None) -> ListedVolume:
    found = [each for each in known if each.name == name]
    if len(found) > 1:
        nodes = ", ".join(each.node for each in found)
        raise Misuse(f"volume {name} is on {nodes}: say which one with --node")
    if found:
        return found[0]
    where = f" on node {node}" if node else ""
    near = near_name(name, [each.name for each in known])
    advice = f"; did you mean {near!r}?" if near else ": `orc volume ls -A` shows all"
    raise NotFound(f"there is no volume {name}{where}{advice}")


def _ask(doomed: Sequence[ListedVolume]) -> None:
    what = ", ".join(f"{each.name} on {each.node}" for each in doomed)
    if not sys.stdin.isatty():
        raise Misuse(f"the data of {what} would be lost: if they may be, say --yes")
    click.confirm(f"The data of {what} will be lost. Delete?", abort=True)


def _size(listed: ListedVolume) -> str:
    return "" if listed.size_mb is None else f"{listed.size_mb:.1f}MB"


_COLUMNS: Sequence[Column[ListedVolume]] = (
    Column("NAME", lambda each: each.name),
    Column("NODE", lambda each: each.node),
    Column("SIZE", _size),
    Column("AGE", lambda each: duration_text(time.time() - each.created_at)),
    Column("USED-BY", lambda each: ",".join(each.used_by)),
    Column("NOTE", lambda each: each.note),
)


for _command in (list_volumes, remove):
    volume.add_command(_command)
