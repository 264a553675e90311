"""The README's transcript, run for real on a cluster of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.local.ports import PortPlan
from orchestrator.model.errors import ConfigError
from tests.support.transcript import Shell, Step, play, steps_of

ROOT = Path(__file__).parents[2]
DEFAULT_BASE = 7400
PORTS = re.compile(r"\b7[4-7]\d\d\b")
TOOLS = ("curl", "etcdctl", "awk")


def free_base() -> int:
    for base in range(12_000, 30_000, 700):
        try:
            PortPlan(base, 3, 3, 1).check()
        except ConfigError:
            continue
        return base
    raise AssertionError("no free ports for a whole cluster")


def moved(step: Step, base: int) -> Step:
    """The same step on a cluster with other ports than the default ones."""

    def elsewhere(text: str) -> str:
        return PORTS.sub(lambda port: str(int(port.group()) - DEFAULT_BASE + base), text)

    return replace(
        step,
        command=elsewhere(step.command),
        expected=tuple(elsewhere(line) for line in step.expected),
    )


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """A running cluster, and a shell's environment in which `orc` finds it."""
    for tool in TOOLS:
        if not shutil.which(tool):
            pytest.skip(f"no {tool} here: install curl, etcd-client and awk")
    orc = tmp_path / "bin" / "orc"
    orc.parent.mkdir()
    orc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orchestrator.entry.main "$@"\n')
    orc.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ORC_")},
        "PATH": f"{orc.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    base = free_base()
    up = [str(orc), "up", "--detach", "--base-port", str(base)]
    subprocess.run(up, cwd=ROOT, env=environment, check=True, timeout=120)
    try:
        yield environment, base
    finally:
        subprocess.run([str(orc), "down"], cwd=ROOT, env=environment, check=True, timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_transcript_is_true(environment: tuple[dict[str, str], int]) -> None:
    variables, base = environment
    steps = [moved(step, base) for step in steps_of((ROOT / "README.md").read_text())]
    assert len(steps) > 30
    shell = await Shell.open(ROOT, variables)
    try:
        await play(steps, shell, patience_seconds=75)
    finally:
        await shell.run("kill -CONT $(orc ps | awk 'NR > 1 {print $3}')", 30)
        await shell.close()
