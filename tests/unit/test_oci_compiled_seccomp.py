"""Filters that crun has compiled, kept for the next containers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runtime.oci.compiled_seccomp import ANNOTATION, COMPILED, CompiledSeccomp

PROFILE = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}
OTHER = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}
NONE: dict[str, Any] = {"linux": {}}
PROGRAM = bytes(range(16))


def created(state_dir: Path, container_id: str, compiled: bytes) -> None:
    (state_dir / container_id).mkdir()
    (state_dir / container_id / COMPILED).write_bytes(compiled)


def test_profile_is_compiled_once(tmp_path: Path) -> None:
    seccomp = CompiledSeccomp("crun", tmp_path)
    assert seccomp.annotations(PROFILE) == {}
    created(tmp_path, "one", PROGRAM)
    seccomp.note("one", PROFILE)
    assert seccomp.annotations(PROFILE) == {ANNOTATION: base64.b64encode(PROGRAM).decode()}
    assert seccomp.annotations(OTHER) == seccomp.annotations(NONE) == {}


@pytest.mark.parametrize("compiled", [b"", PROGRAM[:-1]])
def test_what_is_no_program_is_not_kept(tmp_path: Path, compiled: bytes) -> None:
    seccomp = CompiledSeccomp("crun", tmp_path)
    created(tmp_path, "one", compiled)
    for container_id in ("one", "gone"):
        seccomp.note(container_id, PROFILE)
    assert seccomp.annotations(PROFILE) == {}


def test_containers_without_a_profile_and_other_runtimes_have_none(tmp_path: Path) -> None:
    created(tmp_path, "one", PROGRAM)
    crun, runc = CompiledSeccomp("crun", tmp_path), CompiledSeccomp("runc", tmp_path)
    crun.note("one", NONE)
    runc.note("one", PROFILE)
    assert crun.annotations(NONE) == runc.annotations(PROFILE) == {}
