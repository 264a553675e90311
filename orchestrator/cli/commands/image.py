"""`orc image`: the images on nodes."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.cli.columns import duration_text
from orchestrator.cli.errors import Refused
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import EPILOG, answer_option, client_command
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting
from orchestrator.cli.tables import Column, format_table, lines_of
from orchestrator.model.errors import OrchestrationError

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.stored_image import DeletedImages, StoredImage

T = TypeVar("T")

Tell = Callable[[str, str], None]
"""Of a node, how far it is."""

node_option = click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NODE",
    help="On this node; may be repeated. Without it: on all that are ready and run images.",
)


@click.group(epilog=EPILOG)
def image() -> None:
    """Look after the images on nodes.

    A node pulls what it needs by itself, and deletes what nothing uses when its disk gets full.
    """


@client_command()
@click.argument("name", metavar="IMAGE")
@node_option
@answer_option
@click.pass_obj
def pull(session: Session, *, name: str, nodes: tuple[str, ...], output: str) -> None:
    """Have nodes pull IMAGE, like nginx:1.29, before anything needs it.

    What its tag stands for is looked up anew. Ctrl-C gives the pull up.
    """
    session.run(lambda client: _pull(client, name, nodes, Format(output)))


@client_command("ls")
@node_option
@answer_option
@click.pass_obj
def list_images(session: Session, *, nodes: tuple[str, ...], output: str) -> None:
    """Show the images on nodes, the one used last first."""
    session.run(lambda client: _list(client, nodes, Format(output)))


@client_command("rm")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--node", required=True, metavar="NODE", help="On this node.")
@click.pass_obj
def remove(session: Session, *, names: tuple[str, ...], node: str) -> None:
    """Delete images from a node, unless a container there has them.

    IMAGE is a tag or a pinned reference, as `orc image ls` shows them.
    """
    session.run(lambda client: _remove(client, node, names))


@client_command()
@click.option(
    "--node", "nodes", multiple=True, required=True, metavar="NODE", help="May be repeated."
)
@click.pass_obj
def prune(session: Session, *, nodes: tuple[str, ...]) -> None:
    """Delete all images from nodes that no container there has."""
    session.run(lambda client: _prune(client, nodes))


async def _pull(client: ApiClient, name: str, named: Sequence[str], form: Format) -> None:
    from orchestrator.cli.waiting import progress_shown

    nodes = await _nodes(client, named)
    with progress_shown() as show:
        so_far: dict[str, str] = {}

        def tell(node: str, sentence: str) -> None:
            so_far[node] = f"{node}: {sentence}"
            show("; ".join(so_far.values()) if sys.stderr.isatty() else so_far[node])

        pulled, failures = await _on_each(nodes, lambda node: _pull_on(client, node, name, tell))
    _show(pulled, form, lambda: "\n".join(f"{each.node}: {each.image}" for each in pulled))
    _raise(failures, f"{name} was not pulled")


async def _pull_on(client: ApiClient, node: str, name: str, tell: Tell) -> StoredImage:
    async with (
        suggesting(client, Kind.NODES, node),
        aclosing(client.pull_image(node, name)) as lines,
    ):
        async for line in lines:
            if line.problem:
                raise Refused(line.problem)
            if line.image:
                return line.image
            tell(node, line.progress)
    raise Refused(f"node {node} has not said how it went: look with `orc image ls`")


async def _list(client: ApiClient, named: Sequence[str], form: Format) -> None:
    async def on(node: str) -> Sequence[StoredImage]:
        async with suggesting(client, Kind.NODES, node):
            return (await client.images(node)).items

    found, failures = await _on_each(await _nodes(client, named), on)
    images = [each for listed in found for each in listed]
    _show(images, form, lambda: format_table(lines_of(_COLUMNS, images)) if images else "")
    if not images and form is Format.TABLE and not failures:
        click.echo("no images", err=True)
    _raise(failures, "not all nodes could be asked")


async def _remove(client: ApiClient, node: str, names: Sequence[str]) -> None:
    for name in names:
        async with suggesting(client, Kind.NODES, node):
            deleted = await client.remove_image(node, name)
        click.echo(f"image {name} deleted from {node} ({_megabytes(deleted.freed_bytes)} freed)")


async def _prune(client: ApiClient, nodes: Sequence[str]) -> None:
    async def on(node: str) -> DeletedImages:
        async with suggesting(client, Kind.NODES, node):
            return await client.prune_images(node)

    pruned, failures = await _on_each(nodes, on)
    for each in pruned:
        freed = _megabytes(each.freed_bytes)
        click.echo(f"{len(each.images)} images deleted from {each.node} ({freed} freed)")
    _raise(failures, "not all nodes were pruned")


async def _nodes(client: ApiClient, named: Sequence[str]) -> list[str]:
    """Those named, each once; else all that are ready and run images."""
    if named:
        return list(dict.fromkeys(named))
    listing = await client.nodes()
    found = [
        node.name
        for node in listing.items
        if node.status.value == "Ready" and "oci" in node.runtimes
    ]
    if not found:
        raise Refused("no node that is ready runs images: look at `orc get nodes`")
    return found


async def _on_each(
    nodes: Sequence[str], work: Callable[[str], Awaitable[T]]
) -> tuple[list[T], dict[str, OrchestrationError]]:
    """On all nodes at once: the results, and what went wrong where."""
    import asyncio

    failures: dict[str, OrchestrationError] = {}

    async def one(node: str) -> list[T]:
        try:
            return [await work(node)]
        except OrchestrationError as error:
            failures[node] = error
            return []

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(node)) for node in nodes]
    return [result for task in tasks for result in task.result()], failures


def _raise(failures: dict[str, OrchestrationError], what: str) -> None:
    """The only one as it is; several as problems of one."""
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        problems = tuple(f"{node}: {error}" for node, error in failures.items())
        raise Refused(f"{what} on {len(failures)} nodes", problems=problems)


def _show(found: Sequence[object], form: Format, table: Callable[[], str]) -> None:
    if form is not Format.TABLE:
        click.echo(serialized(found, form))
    elif text := table():
        click.echo(text)


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:.1f}MB"


def _name(stored: StoredImage) -> str:
    return ",".join(stored.names) or stored.image.partition("@")[0]


_COLUMNS: Sequence[Column[StoredImage]] = (
    Column("NAME", _name),
    Column("NODE", lambda each: each.node),
    Column("DIGEST", lambda each: each.image.partition("@")[2][:19]),
    Column("SIZE", lambda each: _megabytes(each.size_bytes)),
    Column("UNUSED-FOR", lambda each: "" if each.used_by else _age(each)),
    Column("USED-BY", lambda each: ",".join(each.used_by)),
)


def _age(stored: StoredImage) -> str:
    return duration_text(time.time() - stored.used_at)


for _command in (pull, list_images, remove, prune):
    image.add_command(_command)
