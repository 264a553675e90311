"""`orc why`: why something is where it is, waits, was moved, stopped or displaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import client_command, namespace_option, workload_key
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session
from orchestrator.cli.suggestions import suggesting_workload
from orchestrator.cli.tables import Column, format_table, lines_of

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.cli.columns import Setting
    from orchestrator.model.answers import Why
    from orchestrator.model.explanation import NodeAnswer

SHOWN_NODES = 10


@client_command()
@click.argument("subject")
@click.option("--all-nodes", is_flag=True, help=f"Show every node, not only {SHOWN_NODES}.")
@namespace_option
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to show it.",
)  # fmt: skip
@click.pass_obj
def why(
    session: Session, *, subject: str, all_nodes: bool, namespace: str | None, output: str
) -> None:
    """Say why something is as it is, and who would take it.

    SUBJECT is a workload, or an instance like default.web.0.1, which may be gone already.
    """

    async def work(client: ApiClient) -> tuple[Why, Setting]:
        from orchestrator.cli.commands.describe import setting_of

        return await _ask(client, subject, namespace), await setting_of(client)

    answer, setting = session.run(work)
    if output == "table":
        click.echo(why_text(answer, setting, SHOWN_NODES if not all_nodes else None))
    else:
        click.echo(serialized(answer, Format(output)))


async def _ask(client: ApiClient, subject: str, namespace: str | None) -> Why:

    if subject.count(".") == 3:
        return await client.why_instance(subject)
    key = workload_key(subject, namespace)
    async with suggesting_workload(client, key):
        return await client.why_workload(key)


def why_text(answer: Why, setting: Setting, most_nodes: int | None) -> str:
    """Reasons first, then what would help, then the nodes, then what has happened."""
    from orchestrator.cli.columns import columns_of
    from orchestrator.cli.descriptions import sections

    explanation = answer.explanation
    nodes = explanation.nodes if explanation else ()
    shown = nodes[:most_nodes]
    table = format_table(lines_of(_COLUMNS, shown)) if shown else ""
    if rest := len(nodes) - len(shown):
        table += f"\nand {rest} more: --all-nodes shows them"
    events = format_table(lines_of(columns_of(Kind.EVENTS, setting), answer.events))
    return sections(
        ("", "\n".join((answer.subject, *(f"  {reason}" for reason in answer.reasons)))),
        ("If it were placed now", explanation.summary if explanation else ""),
        ("What would help", "\n".join(explanation.suggestions) if explanation else ""),
        ("Nodes", table),
        ("Events", events if answer.events else ""),
    )


def _verdict(answer: NodeAnswer) -> str:
    return "; ".join(answer.refusals) or f"fits: {answer.standing}"


_COLUMNS: tuple[Column[NodeAnswer], ...] = (
    Column("NODE", lambda answer: answer.node),
    Column("RANK", lambda answer: str(answer.rank or "")),
    Column("ANSWER", _verdict),
)
