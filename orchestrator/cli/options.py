"""What the commands are made of: the options and arguments that several take, written once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.cli.errors import Misuse
from orchestrator.cli.session import Session
from orchestrator.model.workload import DEFAULT_NAMESPACE, WorkloadKey

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_WAIT_SECONDS = 300.0

EPILOG = "`orc --help` tells which cluster is spoken to, and what the exit codes mean."

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Keep an option for the session. Said again after the command, it holds there."""
    if value not in (None, ()):
        setattr(ctx.ensure_object(Session), param.name or "", value)


@dataclass(frozen=True, slots=True)
class _ConnectionOption:
    """`field` is the one of `Session` that it sets."""

    name: str
    field: str
    text: str
    more: Mapping[str, Any]


_CONNECTION_OPTIONS = (
    _ConnectionOption(
        "--server",
        "servers",
        "An API server, like http://127.0.0.1:7400. Several with commas between, or by repeating "
        "it. Without any: the local cluster.",
        {"metavar": "URL", "multiple": True},
    ),
    _ConnectionOption(
        "--token-file",
        "token_file",
        "The file with the bearer token, which only servers named by --server are sent.",
        {"type": _FILE},
    ),
    _ConnectionOption(
        "--ca-file",
        "ca_file",
        "The authorities, in PEM form, that must have signed a server's certificate.",
        {"type": _FILE},
    ),
    _ConnectionOption("--data-dir", "data_dir", "Where a local cluster is.", {"type": _DIRECTORY}),
)


def connection_options(*, is_hidden: bool) -> Callable[[Command], Command]:
    """`orc` shows these in its help and reads their variables; its commands take them too."""

    def decorate(command: Command) -> Command:
        for option in reversed(_CONNECTION_OPTIONS):
            variable = f"ORC_{option.name[2:].replace('-', '_').upper()}"
            command = click.option(
                option.name,
                option.field,
                envvar=None if is_hidden else variable,
                show_envvar=True,
                hidden=is_hidden,
                expose_value=False,
                callback=_keep,
                help=option.text,
                **option.more,
            )(command)
        return command

    return decorate


def client_command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command that also takes the root's own options, for those who write them last."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        with_connection = connection_options(is_hidden=True)(function)
        return click.command(name, epilog=EPILOG, no_args_is_help=False)(with_connection)

    return decorate


class Duration(click.ParamType[float]):
    """`90`, `90s`, `5m` or `1h`, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|)", str(value).strip(), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no duration: write it like 90s, 5m or 1h", param, ctx)
        return float(match[1]) * {"m": 60.0, "h": 3600.0}.get(match[2], 1.0)


class Since(click.ParamType[float]):
    """`10m`, `1h30m` or `2d` ago, or a time as in RFC 3339; in seconds since 1970. A time without
    an offset is this machine's."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        if re.fullmatch(r"(\d{1,9}(\.\d{1,3})?(ms|[smhd]))+", text, re.ASCII):
            parts = re.findall(r"([\d.]+)(ms|[smhd])", text)
            return max(0.0, time.time() - sum(float(n) * _UNIT_SECONDS[unit] for n, unit in parts))
        try:
            return max(0.0, datetime.fromisoformat(text).timestamp())
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write it like 90s, 10m or 1h30m, or like"
                " 2030-01-31T15:04:05Z",
                param,
                ctx,
            )


_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Count(click.IntRange):
    """A whole number; click's own name for it makes no sentence."""

    name = "number"


namespace_option = click.option(
    "-n",
    "--namespace",
    envvar="ORC_NAMESPACE",
    show_envvar=True,
    help=f"The namespace; without it, {DEFAULT_NAMESPACE!r}.",
)
all_namespaces_option = click.option(
    "-A", "--all-namespaces", is_flag=True, help="Those of all namespaces."
)
wait_option = click.option("--wait", is_flag=True, help="Wait until it is done.")
timeout_option = click.option(
    "--timeout",
    type=Duration(),
    default=DEFAULT_WAIT_SECONDS,
    show_default="5m",
    help="How long to --wait.",
)
watch_option = click.option(
    "-w", "--watch", is_flag=True, help="Keep running, and show a line for each change."
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "name"]),
    default="table",
    show_default=True,
    help="How to show it.",
)
answer_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to show it.",
)
files_option = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE|DIR|-",
    help="A manifest, a directory of manifests, or - for standard input; may be repeated.",
)


def workload_key(text: str, namespace: str | None) -> WorkloadKey:
    """The workload that `text` names: `namespace/web`, or `web` in the namespace given."""
    first, slash, second = text.partition("/")
    key = WorkloadKey(first, second) if slash else WorkloadKey(namespace or DEFAULT_NAMESPACE, text)
    if not (key.namespace and key.name) or "/" in key.name:
        raise Misuse(f"{text!r} names no workload: write NAME or NAMESPACE/NAME")
    return key
