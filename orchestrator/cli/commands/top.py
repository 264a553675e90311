"""`orc top`: what instances and nodes use now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Misuse, Refused
from orchestrator.cli.kinds import Kind, KindParam
from orchestrator.cli.options import all_namespaces_option, client_command, namespace_option
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.rates import Used, by_instance, by_node
from orchestrator.cli.session import Session
from orchestrator.cli.tables import NOTHING, Column, format_table, lines_of
from orchestrator.model.workload import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from orchestrator.cli.answers import Listing
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.usage import NodeUsage

MEASURED_SECONDS = 1.0
"""Between the two measurements that make a rate."""

WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Question:
    """`namespace` None: all of them."""

    kind: Kind
    namespace: str | None
    node: str | None


@client_command()
@click.argument("kind", type=KindParam(Kind.INSTANCES, Kind.NODES), default=Kind.INSTANCES)
@namespace_option
@all_namespaces_option
@click.option("--node", help="On this node only.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to show it.",
)
@click.option("-w", "--watch", is_flag=True, help="Keep running, and measure again and again.")
@click.pass_obj
def top(
    session: Session,
    *,
    kind: Kind,
    namespace: str | None,
    all_namespaces: bool,
    node: str | None,
    output: str,
    watch: bool,
) -> None:
    """Show what instances, or nodes, use of CPU and memory.

    Cores are those in use by the containers, measured over a second. Percentages are of an
    instance's limits, or of what a node has for instances.
    """
    form = Format(output)
    if watch and not form.is_table:
        raise Misuse("--watch shows a table: leave out -o")
    chosen = None if all_namespaces else namespace or DEFAULT_NAMESPACE
    question = _Question(kind, chosen, node)
    session.run(lambda client: _show(client, question, form, is_watch=watch))


async def _show(client: ApiClient, question: _Question, form: Format, *, is_watch: bool) -> None:
    import asyncio

    before = await client.usage(question.node)
    await asyncio.sleep(MEASURED_SECONDS)
    while True:
        after = await client.usage(question.node)
        rows = await _rows(client, question, before, after)
        if is_watch and sys.stdout.isatty():
            click.clear()
        _print(question, rows, form)
        _tell_problems(after)
        if not is_watch:
            return
        before = after
        await asyncio.sleep(WATCH_SECONDS)


async def _rows(
    client: ApiClient,
    question: _Question,
    before: Listing[NodeUsage],
    after: Listing[NodeUsage],
) -> list[Used]:
    if question.kind is Kind.NODES:
        room = {
            each.name: (each.allocatable.cpu_cores, each.allocatable.memory_mb)
            for each in (await client.nodes()).items
        }
        return by_node(before.items, after.items, room)
    rows = by_instance(before.items, after.items)
    if question.namespace is None:
        return rows
    return [row for row in rows if row.name.partition(".")[0] == question.namespace]


def _print(question: _Question, rows: Sequence[Used], form: Format) -> None:
    if not form.is_table:
        listed = [
            {**asdict(row), "cpu_percent": row.cpu_percent, "memory_percent": row.memory_percent}
            for row in rows
        ]
        click.echo(serialized({"items": listed}, form))
    elif rows:
        columns = _NODE_COLUMNS if question.kind is Kind.NODES else _INSTANCE_COLUMNS
        click.echo(format_table(lines_of(columns, rows, wide=form is Format.WIDE)))
    else:
        click.echo(f"no {question.kind} in use", err=True)


def _tell_problems(usage: Listing[NodeUsage]) -> None:
    """Raises `Refused` if no node has answered."""
    silent = [each for each in usage.items if each.problem]
    for each in silent:
        click.echo(f"{each.node}: {each.problem}", err=True)
    if silent and len(silent) == len(usage.items):
        raise Refused("no node has answered")


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return NOTHING if value is None else f"{value:.{digits}f}{unit}"


_USE_COLUMNS: Sequence[Column[Used]] = (
    Column("CPU", lambda row: _number(row.cpu_cores, 2)),
    Column("CPU-MAX", lambda row: _number(row.cpu_limit_cores, 2)),
    Column("CPU%", lambda row: _number(row.cpu_percent, 0, "%")),
    Column("MEMORY-MB", lambda row: _number(row.memory_mb, 0)),
    Column("MEMORY-MAX", lambda row: _number(row.memory_limit_mb, 0)),
    Column("MEMORY%", lambda row: _number(row.memory_percent, 0, "%")),
    Column("CONTAINERS", lambda row: str(row.containers), is_wide=True),
)
_NODE_COLUMNS: Sequence[Column[Used]] = (Column("NAME", lambda row: row.name), *_USE_COLUMNS)
_INSTANCE_COLUMNS: Sequence[Column[Used]] = (
    Column("NAME", lambda row: row.name),
    Column("NODE", lambda row: row.node),
    *_USE_COLUMNS,
)
