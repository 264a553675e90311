"""`orc events`: what happened, and why."""

from __future__ import annotations

import click

from orchestrator.cli.commands.get import Question, answer, chosen_namespace
from orchestrator.cli.kinds import Kind
from orchestrator.cli.options import (
    Count,
    all_namespaces_option,
    client_command,
    namespace_option,
    output_option,
    watch_option,
)
from orchestrator.cli.output import Format
from orchestrator.cli.session import Session


@client_command()
@click.option("--subject", help="Of this workload, instance or node only.")
@click.option("--limit", type=Count(min=1), help="Only this many, the newest.")
@namespace_option
@all_namespaces_option
@output_option
@watch_option
@click.pass_obj
def events(
    session: Session,
    *,
    subject: str | None,
    limit: int | None,
    namespace: str | None,
    all_namespaces: bool,
    output: str,
    watch: bool,
) -> None:
    """Show what happened of late and why, the newest last."""
    names = (subject,) if subject else ()
    chosen = chosen_namespace(Kind.EVENTS, namespace, is_all=all_namespaces)
    question = Question(Kind.EVENTS, names, chosen, limit=limit)
    answer(session, question, Format(output), is_watch=watch)
