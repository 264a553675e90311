"""Our seccomp profile: the system calls that a container may make, in OCI's form.

`seccomp.json` names them by group. What is in no group is refused with EPERM, and what belongs
to a capability is allowed with that. Of the rest, each has its reason in the file.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

EPERM, ENOSYS = 1, 38

NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW* flags of clone(2) but CLONE_NEWTIME, which is none of its flags."""

AF_VSOCK = 40
"""Leads to the machine's hypervisor, past every network namespace."""

PLAIN_PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, Linux on 32 bits, both with an old version number, and the question which it is."""


@cache
def _profile() -> dict[str, Any]:
    text = files(__package__).joinpath("seccomp.json").read_text()
    profile: dict[str, Any] = json.loads(text)
    return profile


def seccomp_profile(
    capabilities: Collection[str], machine: str = platform.machine()
) -> dict[str, Any]:
    """`linux.seccomp` of a container with these capabilities, on a machine as `uname -m` says.

    The same object for the same ones: it is not to be changed.
    """
    return _made(frozenset(capabilities), machine)


@lru_cache(64)
def _made(capabilities: frozenset[str], machine: str) -> dict[str, Any]:
    profile = _profile()
    of_machine = profile["machines"].get(machine, {"architectures": [], "allowed": []})
    allowed = {name for names in profile["groups"].values() for name in names}
    allowed.update(of_machine["allowed"])
    for capability, names in profile["with_capability"].items():
        if capability in capabilities:
            allowed.update(names)
    rules = [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}, *_by_argument()]
    if "clone3" not in allowed:
        rules += [_clone(machine), {**_rule("clone3", "SCMP_ACT_ERRNO"), "errnoRet": ENOSYS}]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": of_machine["architectures"],
        "syscalls": rules,
    }


def _by_argument() -> list[dict[str, Any]]:
    plain = [_rule("personality", "SCMP_ACT_ALLOW", _equal(n)) for n in PLAIN_PERSONALITIES]
    not_vsock = {"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}
    return [*plain, _rule("socket", "SCMP_ACT_ALLOW", not_vsock)]


def _clone(machine: str) -> dict[str, Any]:
    """Without new namespaces. clone3 keeps its flags in memory, where a filter cannot look: it is
    said not to exist, and the C library falls back to clone."""
    condition = {
        "index": 1 if machine == "s390x" else 0,
        "value": NEW_NAMESPACES,
        "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    return _rule("clone", "SCMP_ACT_ALLOW", condition)


def _equal(value: int) -> dict[str, Any]:
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}


def _rule(name: str, action: str, condition: dict[str, Any] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": [name], "action": action}
    return rule if condition is None else {**rule, "args": [condition]}
