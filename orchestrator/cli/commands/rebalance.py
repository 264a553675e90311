"""`orc rebalance`: plan moves that even out the load, and carry them out when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.errors import Refused
from orchestrator.cli.options import Count, answer_option, client_command
from orchestrator.cli.output import Format, serialized
from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from orchestrator.cli.client import ApiClient
    from orchestrator.model.moves import Rebalance


@client_command()
@click.option(
    "--target",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="By how much the fullest node's load may be above the emptiest one's.",
)
@click.option(
    "--max-moves", type=Count(min=1, max=1000), default=20, show_default=True, help="No more moves."
)
@click.option("--yes", is_flag=True, help="Have the moves carried out, too.")
@answer_option
@click.pass_obj
def rebalance(session: Session, *, target: float, max_moves: int, yes: bool, output: str) -> None:
    """Plan moves that even out the load of the nodes.

    Nothing is moved without --yes. The leader then moves as fast as the workloads' `min_available`
    allows. Gangs and what runs at most once are left alone.
    """
    session.run(lambda client: _rebalance(client, target, max_moves, yes, Format(output)))


async def _rebalance(
    client: ApiClient, target: float, max_moves: int, is_sure: bool, form: Format
) -> None:
    from orchestrator.cli.forecasts import rebalance_text

    planned = await client.plan_rebalance(target, max_moves)
    click.echo(rebalance_text(planned) if form is Format.TABLE else serialized(planned, form))
    if is_sure and planned.moves:
        await carry_out(client, planned)
    elif planned.moves and form is Format.TABLE:
        click.echo("nothing was moved: say it with --yes")


async def carry_out(client: ApiClient, planned: Rebalance) -> None:
    """Have the moves made. Raises `Refused` with those that have become impossible meanwhile."""
    answer = await client.write_moves(planned.moves)
    told = f"{len(answer.written)} instances are to be moved"
    click.echo(told, err=True)  # standard output has the plan alone
    if answer.refused:
        problems = tuple(f"{each.instance}: {each.reason}" for each in answer.refused)
        raise Refused(f"{len(answer.refused)} moves were refused", problems=problems)
