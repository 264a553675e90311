"""Imports that would bring along what a process never needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType


def import_structlog() -> None:
    """Before anybody else does: where rich is, structlog loads it for a form of tracebacks that we
    never print (3 MB of each process, and a tenth of a second of its start)."""
    with _unseen("rich"):
        import structlog  # noqa: F401


@contextmanager
def _unseen(name: str) -> Iterator[None]:
    """Let it look as if a module were not installed, unless it has been imported already."""
    modules: MutableMapping[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
