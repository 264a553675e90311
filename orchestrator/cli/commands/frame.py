"""What makes a function a command that speaks to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from orchestrator.cli.options import connection_options

EPILOG = "`orc --help` tells which cluster is spoken to, and what the exit codes mean."


def client_command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command that also takes the root's own options, for those who write them last."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        with_connection = connection_options(is_hidden=True)(function)
        return click.command(name, epilog=EPILOG, no_args_is_help=False)(with_connection)

    return decorate
