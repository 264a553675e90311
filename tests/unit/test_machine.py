"""Whether the machine goes down is what its service manager says."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.process import machine


def manager(tmp_path: Path, script: str) -> str:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "is_going_down"),
    [
        ('[ "$1" = is-system-running ] && echo stopping; exit 1', True),
        ("echo running", False),
        ("echo degraded; exit 1", False),
        ("echo offline; exit 1", False),
        ("echo 'System has not been booted with systemd' >&2; exit 1", False),
    ],
)
async def test_the_manager_is_believed(tmp_path: Path, script: str, is_going_down: bool) -> None:
    assert await machine.is_going_down(manager(tmp_path, script)) is is_going_down


async def test_without_a_manager_nobody_can_tell(tmp_path: Path) -> None:
    assert not await machine.is_going_down(str(tmp_path / "systemctl"))


async def test_a_manager_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ANSWER_SECONDS", 0.05)
    assert not await machine.is_going_down(manager(tmp_path, "exec sleep 1000"))
