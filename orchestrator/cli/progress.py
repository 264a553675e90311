"""How a wait stands: one living line where a person looks on, else a line for each change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function to call with each new sentence. All of it goes to standard error."""
    if not sys.stderr.isatty():
        yield lambda sentence: click.echo(sentence, err=True)
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("waiting") as line:
        yield lambda sentence: line.update(escape(sentence))
