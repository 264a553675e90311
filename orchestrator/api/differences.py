"""What changes from one definition to the next, a line for each field. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from orchestrator.model.item_names import item_name
from orchestrator.model.workload import WorkloadDefinition

_DEFINITION = TypeAdapter(WorkloadDefinition)
_ABSENT = object()
_MAX_SHOWN = 60
_SECRETIVE = "env_vars"
"""Passwords are handed to processes in their environment: its values are never shown."""


def differences(before: WorkloadDefinition, after: WorkloadDefinition) -> tuple[str, ...]:
    """Lines like `replicas: 3 -> 5` and `containers.web.image: "web:1" -> "web:2"`."""
    old, new = (_DEFINITION.dump_python(each, mode="json") for each in (before, after))
    return tuple(_walk("", old, new))


def _walk(path: str, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    old, new = _members(before), _members(after)
    if old is None or new is None:
        yield _line(path, before, after)
        return
    if old == new:
        yield f"{path}: in another order"
    for name in {**old, **new}:
        inner = f"{path}.{name}" if path else name
        yield from _walk(inner, old.get(name, _ABSENT), new.get(name, _ABSENT))


def _members(value: Any) -> dict[str, Any] | None:
    """A mapping as it is, a list of things that have names by these; None for anything else."""
    if isinstance(value, dict):
        return value
    if not (isinstance(value, list) and value):
        return None
    by_name = {item_name(item): item for item in value}
    return by_name if len(by_name) == len(value) and "" not in by_name else None


def _line(path: str, before: Any, after: Any) -> str:
    if before is _ABSENT:
        return f"{path}: added"
    if after is _ABSENT:
        return f"{path}: removed"
    if f".{_SECRETIVE}." in path:
        return f"{path}: changed"
    return f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
