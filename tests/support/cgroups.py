"""Where cgroups are in the file system, on either version."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.runtime.oci.cgroups import ROOT


def directories(name: str) -> list[Path]:
    """Of the cgroup `name`: one on version 2, one for each hierarchy on version 1."""
    return [path for pattern in (name, f"*/{name}") for path in ROOT.glob(pattern)]


def below(cgroup: Path) -> list[Path]:
    """The deepest first."""
    walked = os.walk(cgroup, topdown=False)
    return [Path(parent) for parent, _, _ in walked if parent != str(cgroup)]
