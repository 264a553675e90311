"""What the main programs of controllers and agents begin with: their settings, and their logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from orchestrator.cluster.connect import STORE_ERRORS, StoreAddress
from orchestrator.process.logs import configure_logs
from orchestrator.process.settings import ProcessSettings, StoreSettings
from orchestrator.process.shutdown import run_process
from orchestrator.process.sources import Loaded, load_settings, shown

S = TypeVar("S", bound=ProcessSettings)


def read_settings(
    kind: type[S], flags: Mapping[str, object], config: Path | None, *, show_config: bool
) -> S:
    """The settings; with `show_config` print them and end. Raises `ConfigError`."""
    loaded = load_settings(kind, flags, config)
    if show_config:
        click.echo(table(loaded))
        raise SystemExit(0)
    return loaded.settings


def table(loaded: Loaded[S]) -> str:
    rows = [(name, value or "-", source) for name, value, source in shown(loaded)]
    wide, wider = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:<{wide}}  {value:<{wider}}  {source}" for name, value, source in rows)


def store_address(settings: StoreSettings) -> StoreAddress:
    return StoreAddress(
        settings.etcd_endpoints,
        settings.etcd_ca_file,
        settings.etcd_cert_file,
        settings.etcd_key_file,
    )


def run(
    settings: ProcessSettings,
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    **log_fields: str,
) -> NoReturn:
    configure_logs(settings, **log_fields)
    run_process(main, reported=STORE_ERRORS)
