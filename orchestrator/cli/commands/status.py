"""`orc status`: the cluster at a glance, and how far each of its servers is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from orchestrator.cli.errors import ServerUnreachable
from orchestrator.cli.options import client_command
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session
from orchestrator.cli.tables import Column, format_fields, format_table, lines_of
from orchestrator.model.errors import OrchestrationError

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.answers import ClusterSummary

Word = TypeVar("Word", bound=str)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What one server says of the cluster, or why it says nothing."""

    server: str
    summary: ClusterSummary | None
    problem: str = ""


@client_command()
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to show it.",
)  # fmt: skip
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Show who leads, what there is, and what waits and why."""
    statuses = session.run(_ask_all)
    if output == "table":
        click.echo(status_text(statuses))
    else:
        click.echo(serialized({"servers": statuses}, Format(output)))


async def _ask_all(client: ApiClient) -> list[ServerStatus]:
    """All servers at once. Raises `ServerUnreachable` if not one answers."""
    import asyncio

    statuses = await asyncio.gather(*(_ask(client, server) for server in client.servers))
    if not any(each.summary for each in statuses):
        told = [f"{each.server}: {each.problem}" for each in statuses]
        raise ServerUnreachable("\n".join(["cannot reach a server:", *told]))
    return statuses


async def _ask(client: ApiClient, server: str) -> ServerStatus:
    try:
        return ServerStatus(server, await client.cluster(server))
    except OrchestrationError as error:
        return ServerStatus(server, None, str(error).splitlines()[-1].removeprefix(f"{server}: "))


def status_text(statuses: Sequence[ServerStatus]) -> str:
    """The cluster as the server that has read furthest sees it; then each server."""
    summaries = [each.summary for each in statuses if each.summary]
    newest = max(summaries, key=lambda summary: summary.revision)
    fields = [
        ("Leader", _leader(newest)),
        ("Revision", str(newest.revision)),
        ("Workloads", str(newest.workloads)),
        ("Instances", _counts(newest.instances)),
        ("Nodes", _counts(newest.nodes)),
        ("Waiting", "\n".join(f"{each.workload}: {each.reason}" for each in newest.waiting)),
        ("Damaged", "\n".join(f"{each.key}: {each.reason}" for each in newest.damaged)),
        ("Warnings", "\n".join(newest.warnings)),
    ]
    return f"{format_fields(fields)}\n\n{format_table(lines_of(_COLUMNS, statuses))}"


def _leader(summary: ClusterSummary) -> str:
    leader = summary.leader
    if leader is None:
        return "none: what runs goes on, but nothing is placed or replaced until one is elected"
    where = f" at {leader.address}" if leader.address else ""
    return f"{leader.replica}{where}, pid {leader.pid}" if leader.pid else leader.replica + where


def _counts(counts: Mapping[Word, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none"


def _replica(status: ServerStatus) -> str:
    return status.summary.replica if status.summary else ""


def _revision(status: ServerStatus) -> str:
    return str(status.summary.revision) if status.summary else ""


def _state(status: ServerStatus) -> str:
    if status.summary is None:
        return f"does not answer: {status.problem}"
    if not status.summary.is_synced:
        return "has not read the store yet"
    silent = status.summary.silent_seconds
    is_cut_off = silent is not None and silent > SILENT_SECONDS
    return f"cut off from the store for {silent:.0f} s" if is_cut_off else "reads along"


SILENT_SECONDS = 15.0

_COLUMNS: Sequence[Column[ServerStatus]] = (
    Column("SERVER", lambda status: status.server),
    Column("REPLICA", _replica),
    Column("REVISION", _revision),
    Column("STATE", _state),
)
