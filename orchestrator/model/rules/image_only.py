"""What a plain process has not: fields that would do nothing without an image are refused, so that
nobody relies on a protection that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from orchestrator.model.problems import Path
from orchestrator.model.rules.faults import Fault
from orchestrator.model.workload import ContainerConfig, WorkloadTemplate

OF_TEMPLATES = frozenset({"volumes", "network", "shared", "user_namespace"})
OF_CONTAINERS = frozenset(
    {
        *("pull_policy", "security", "mounts", "devices", "ulimits", "pids_limit", "init", "stdin"),
        "tty",
    }
)
RULE = "it is for images only: leave it out for a plain process, or name an image to run"


def image_only_faults(template: WorkloadTemplate) -> Iterator[Fault]:
    """Of a template without images."""
    yield from _given((), template, OF_TEMPLATES)
    for index, container in enumerate(template.containers):
        yield from _given(("containers", index), container, OF_CONTAINERS)


def _given(
    path: Path, record: WorkloadTemplate | ContainerConfig, names: frozenset[str]
) -> Iterator[Fault]:
    for each in fields(record):
        if each.name in names:
            yield from _difference((*path, each.name), getattr(record, each.name), _default(each))


def _difference(path: Path, value: Any, default: Any) -> Iterator[Fault]:
    """One fault if they differ: of the first member that does."""
    if value == default:
        return
    if not is_dataclass(value):
        shown = tuple(value) if isinstance(value, dict) else value
        yield Fault(path, shown, RULE)
        return
    differing = (each.name for each in fields(value) if _differs(value, default, each.name))
    name = next(differing)
    yield from _difference((*path, name), getattr(value, name), getattr(default, name))


def _differs(value: Any, default: Any, name: str) -> bool:
    return bool(getattr(value, name) != getattr(default, name))


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()
