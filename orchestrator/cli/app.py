"""`orc`, the root command: what all commands share, and how errors reach the user.

Command modules import only click, and what is slow to import (aiohttp, pydantic, PyYAML, rich)
when a command runs, so that help and completion answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from orchestrator.cli.commands.about import completion, version
from orchestrator.cli.commands.apply import apply
from orchestrator.cli.commands.delete import delete
from orchestrator.cli.commands.describe import describe
from orchestrator.cli.commands.events import events
from orchestrator.cli.commands.execute import attach, execute
from orchestrator.cli.commands.get import get
from orchestrator.cli.commands.image import image
from orchestrator.cli.commands.logs import logs
from orchestrator.cli.commands.move import move
from orchestrator.cli.commands.nodes import cordon, declare_lost, drain, taint, uncordon
from orchestrator.cli.commands.rebalance import rebalance
from orchestrator.cli.commands.scale import scale
from orchestrator.cli.commands.status import status
from orchestrator.cli.commands.top import top
from orchestrator.cli.commands.volume import volume
from orchestrator.cli.commands.whatif import whatif
from orchestrator.cli.commands.why import why
from orchestrator.cli.errors import ExitCode, Refused, exit_code_of
from orchestrator.cli.options import connection_options
from orchestrator.cli.session import Session
from orchestrator.model.errors import OrchestrationError

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the server refused it, or it failed
  2  the command line or the manifest is wrong
  3  no server can be reached
  4  nothing has that name
  5  accepted, but not yet done when the time for --wait was over"""


class Root(click.Group):
    """Shows every error as `error: <sentence>` and ends with the exit code that it stands for."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Ends the process unless `standalone_mode` is off, as click's own does."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
        except click.Abort:
            code = ExitCode.INTERRUPTED
        except click.ClickException as error:
            _show_misuse(error)
            code = error.exit_code
        except OrchestrationError as error:
            show_error(error)
            code = exit_code_of(error)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added: by use, not by letter."""
        return list(self.commands)


def _show_misuse(error: click.ClickException) -> None:
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.\n", err=True)
    click.echo(f"error: {error.format_message()}", err=True)


def show_error(error: OrchestrationError) -> None:
    """Its sentence, and its problems, each on a line of its own."""
    problems: Sequence[str] = error.problems if isinstance(error, Refused) else ()
    first, *rest = str(error).splitlines() or [type(error).__name__]
    click.echo(f"error: {first}", err=True)
    for line in (*rest, *problems):
        click.echo(f"  {line}", err=True)


@click.group(cls=Root, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@connection_options(is_hidden=False)
@click.pass_context
def orc(ctx: click.Context) -> None:
    """Run workloads on a cluster, and keep them running."""
    ctx.ensure_object(Session)


for _command in (
    apply,
    get,
    describe,
    scale,
    delete,
    logs,
    execute,
    attach,
    top,
    events,
    why,
    status,
    cordon,
    uncordon,
    drain,
    taint,
    declare_lost,
    move,
    rebalance,
    whatif,
    image,
    volume,
    completion,
    version,
):
    orc.add_command(_command)
