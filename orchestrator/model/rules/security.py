"""The rules for what a container's processes may do, and for the namespaces that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.model.container import (
    ALL_CAPABILITIES,
    NetworkMode,
    Security,
    capability,
)
from orchestrator.model.kernel import CAPABILITIES
from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Path, path_text
from orchestrator.model.rules.faults import Fault, repeated
from orchestrator.model.workload import WorkloadTemplate

MAX_USER_ID = 2**32 - 2
"""The one above it means nobody to the kernel."""

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}"
_USER = re.compile(rf"({_NAME})(?::({_NAME}))?", re.ASCII)


def security_faults(path: Path, security: Security) -> Iterator[Fault]:
    yield from _user_faults((*path, "user"), security.user)
    added, dropped = security.add_capabilities, security.drop_capabilities
    yield from _capability_faults((*path, "add_capabilities"), added, may_be_all=False)
    yield from _capability_faults((*path, "drop_capabilities"), dropped, may_be_all=True)
    both = {capability(each) for each in added}
    for index, each in enumerate(dropped):
        if capability(each) in both:
            rule = f"{path_text((*path, 'add_capabilities'))} has it: add it, or drop it"
            yield Fault((*path, "drop_capabilities", index), each, rule)
    if security.privileged and dropped:
        rule = f"with {path_text((*path, 'privileged'))} it has all capabilities: drop none"
        yield Fault((*path, "drop_capabilities"), dropped, rule)


def _user_faults(path: Path, user: str) -> Iterator[Fault]:
    """Whether the image knows the name is seen on the node."""
    if not user:
        return
    found = _USER.fullmatch(user)
    numbers = [int(each) for each in (found.groups() if found else ()) if (each or "").isdecimal()]
    if not found or any(each > MAX_USER_ID for each in numbers):
        yield Fault(path, user, "it must be user or user:group, each a name or a number")


def _capability_faults(path: Path, names: Sequence[str], *, may_be_all: bool) -> Iterator[Fault]:
    for index, name in enumerate(names):
        where, plain = (*path, index), capability(name)
        if plain in CAPABILITIES or (may_be_all and name == ALL_CAPABILITIES):
            continue
        if name == ALL_CAPABILITIES:
            yield Fault(where, name, "only privileged: true gives all of them")
            continue
        near = near_name(capability(name.upper().replace("-", "_")), CAPABILITIES)
        advice = f"; did you mean {near!r}?" if near else ""
        yield Fault(where, name, f"capabilities(7) names no such capability{advice}")
    yield from repeated(
        ((*path, index), each, capability(each)) for index, each in enumerate(names)
    )


def namespace_faults(template: WorkloadTemplate) -> Iterator[Fault]:
    """What an instance must not share, or not at the same time."""
    yield from repeated(
        (("shared", index), each, each) for index, each in enumerate(template.shared)
    )
    if not template.user_namespace:
        return
    path: Path = ("user_namespace",)
    if template.network is NetworkMode.HOST:
        rule = "with network: host its root would have no say in its own network: leave one out"
        yield Fault(path, True, rule)
    for index, container in enumerate(template.containers):
        if container.security.privileged:
            where = path_text(("containers", index, "security", "privileged"))
            yield Fault(path, True, f"{where} gives what it takes away: leave one out")
