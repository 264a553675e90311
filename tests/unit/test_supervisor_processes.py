"""What a supervisor sees of other processes."""

from __future__ import annotations

import os
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
