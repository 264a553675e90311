"""Seccomp profiles as crun has compiled them.

crun compiles the profile of each container anew, which is more than half of what it takes to
create one (measured: 11 of 19 ms of a processor). The result is a file of its state, and it takes
such a result instead by an annotation: so each profile is compiled for the first container that
has it. A crun that does not know the annotation goes by the profile, which stays where it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ANNOTATION = "run.oci.seccomp_bpf_data"
COMPILED = "seccomp.bpf"
INSTRUCTION_BYTES = 8


class CompiledSeccomp:
    """`runtime` is the name of its program, and `state_dir` where it keeps what it knows."""

    def __init__(self, runtime: str, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._is_kept = runtime == "crun"
        self._compiled: dict[str, str] = {}

    def annotations(self, config: Mapping[str, Any]) -> dict[str, str]:
        """For a container with this `config.json`."""
        compiled = self._compiled.get(_profile(config))
        return {} if compiled is None else {ANNOTATION: compiled}

    def note(self, container_id: str, config: Mapping[str, Any]) -> None:
        """It has been created from this `config.json`."""
        if not self._is_kept or ANNOTATION in config.get("annotations", {}):
            return
        if not (profile := _profile(config)):
            return
        with suppress(OSError):
            compiled = (self._state_dir / container_id / COMPILED).read_bytes()
            if compiled and len(compiled) % INSTRUCTION_BYTES == 0:
                self._compiled[profile] = base64.b64encode(compiled).decode()


def _profile(config: Mapping[str, Any]) -> str:
    """Empty if it has none."""
    profile = config["linux"].get("seccomp")
    return "" if profile is None else json.dumps(profile)
