"""Command-line flags for settings: one for each field, with its description as the help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.process.settings import ENV_PREFIX, ProcessSettings
from orchestrator.process.sources import flag_of

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(kind: type[ProcessSettings]) -> Callable[[F], F]:
    """Give a click command `--config`, `--show-config` and a flag for each field of `kind`.

    The command gets them as keyword arguments; those of fields are None where not given.
    """

    def decorate(command: F) -> F:
        for name in reversed(kind.model_fields):
            command = _option(kind, name)(command)
        command = click.option(
            "--show-config", is_flag=True, help="Print every setting and its source, and stop."
        )(command)
        return click.option(
            "--config",
            type=click.Path(path_type=Path),
            envvar=ENV_PREFIX + "CONFIG",
            help="A YAML or TOML file of settings. Flags go first, then the environment, then it.",
        )(command)

    return decorate


def _option(kind: type[ProcessSettings], name: str) -> Callable[[F], F]:
    field = kind.model_fields[name]
    flag = flag_of(name)
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=field.description)
    return click.option(flag, name, metavar="VALUE", help=field.description)
