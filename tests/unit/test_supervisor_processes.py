"""What a supervisor sees of other processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import IO

import pytest

from orchestrator.runtime.supervisor import processes


def test_processes_that_may_not_be_looked_at_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of other users, where /proc is mounted with hidepid=1."""

    def refusing(path: str, mode: str) -> IO[bytes]:
        if path.startswith("/proc/1/"):
            raise PermissionError(path)
        return open(path, mode)

    monkeypatch.setattr(processes, "open", refusing, raising=False)
    pids = [pid for pid, _, _ in processes.processes()]
    assert os.getpid() in pids
    assert 1 not in pids


def test_who_becomes_another_program_all_the_time_does_not_get_away(tmp_path: Path) -> None:
    """While it does, it shows no environment."""
    again = tmp_path / "again"
    again.write_text('#!/bin/sh\nexec "$0"\n')
    again.chmod(0o755)
    mark = f"MARKED={tmp_path}"
    for _ in range(50):
        with subprocess.Popen([again], env={"MARKED": str(tmp_path)}) as restless:
            processes.kill_strays(0, mark)
            try:
                assert restless.wait(5.0) == -9
            finally:
                restless.kill()


def test_who_has_no_environment_is_nobodys(tmp_path: Path) -> None:
    mark = f"MARKED={tmp_path}"
    with subprocess.Popen(["sleep", "1000"], env={}) as bare:
        try:
            while Path(f"/proc/{bare.pid}/cmdline").read_bytes() != b"sleep\0001000\0":
                continue
            assert processes.has_variable(bare.pid, mark) is False
            processes.kill_strays(0, mark)
            assert bare.poll() is None
        finally:
            bare.kill()
