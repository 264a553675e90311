"""Commands whose code is imported only when they are called, so that `orc get` stays quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class LazyCommand(click.Command):
    """Stands in for the command that `load` returns; `help` is its line in the list."""

    def __init__(self, name: str, load: Callable[[], click.Command], help: str) -> None:  # noqa: A002 - click's word
        super().__init__(name, help=help)
        self._load = load

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        return self._load().make_context(info_name, args, parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return self._load().get_params(ctx)
