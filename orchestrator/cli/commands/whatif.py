"""`orc whatif`: what changes would lead to, without making them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.manifests import read_manifests
from orchestrator.cli.options import (
    EPILOG,
    Count,
    answer_option,
    client_command,
    files_option,
    namespace_option,
    workload_key,
)
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient


@click.group(epilog=EPILOG)
def whatif() -> None:
    """Tell what a change would lead to, and change nothing.

    The cluster's own planner answers, on a copy of the cluster as it is now: who moves where and
    why, what stops, and what would stay without a node.
    """


@client_command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option("--for-good", is_flag=True, help="They are removed from the cluster, too.")
@answer_option
@click.pass_obj
def lose(session: Session, *, nodes: tuple[str, ...], for_good: bool, output: str) -> None:
    """What if NODEs could not be reached any more?"""
    changes = [{"change": "lose_node", "node": node, "for_good": for_good} for node in nodes]
    _ask(session, changes, output)


@client_command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@answer_option
@click.pass_obj
def drain(session: Session, *, nodes: tuple[str, ...], output: str) -> None:
    """What if NODEs were drained?"""
    _ask(session, [{"change": "drain_node", "node": node} for node in nodes], output)


@client_command()
@click.argument("count", type=Count(min=1))
@click.option("--like", "like", metavar="NODE", required=True, help="A node that is there.")
@answer_option
@click.pass_obj
def add(session: Session, *, count: int, like: str, output: str) -> None:
    """What if there were COUNT more nodes like NODE?"""
    _ask(session, [{"change": "add_nodes", "count": count, "like": like}], output)


@client_command()
@click.argument("workload")
@click.argument("replicas", type=Count(min=0))
@namespace_option
@answer_option
@click.pass_obj
def scale(
    session: Session, *, workload: str, replicas: int, namespace: str | None, output: str
) -> None:
    """What if WORKLOAD had so many REPLICAS?"""
    key = workload_key(workload, namespace)
    change = {"change": "scale_workload", **key._asdict(), "replicas": replicas}
    _ask(session, [change], output)


@client_command()
@files_option
@answer_option
@click.pass_obj
def apply(session: Session, *, files: tuple[str, ...], output: str) -> None:
    """What if manifests were applied, all of them at once?"""
    from orchestrator.model.manifest import to_document

    manifests = [to_document(each) for each in read_manifests(files)]
    _ask(session, [{"change": "apply_workload", "manifest": each} for each in manifests], output)


@client_command()
@answer_option
@click.pass_obj
def critical(session: Session, *, output: str) -> None:
    """Which single node can we not lose?"""
    from orchestrator.cli.forecasts import critical_text

    async def work(client: ApiClient) -> None:
        found = (await client.critical_nodes()).items
        is_table = output == Format.TABLE
        click.echo(critical_text(found) if is_table else serialized(found, Format(output)))

    session.run(work)


def _ask(session: Session, changes: list[dict[str, Any]], output: str) -> None:
    from orchestrator.cli.forecasts import forecast_text

    async def work(client: ApiClient) -> None:
        forecast = await client.what_if(changes)
        is_table = output == Format.TABLE
        click.echo(forecast_text(forecast) if is_table else serialized(forecast, Format(output)))

    session.run(work)


for _command in (lose, drain, add, scale, apply, critical):
    whatif.add_command(_command)
