"""The rules for absolute paths, in containers and on nodes."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.model.problems import Path
from orchestrator.model.rules.faults import Fault

RULE = "it must be an absolute path without '.', '..', '//' and a '/' at its end"


def unfit_path(path: Path, value: str) -> Iterator[Fault]:
    """What is no absolute path, or could be written otherwise. `/` itself will do."""
    if value != "/" and not is_normal(value):
        yield Fault(path, value, RULE)


def is_normal(value: str) -> bool:
    first, *steps = value.split("/")
    return not first and bool(steps) and all(step not in ("", ".", "..") for step in steps)
