"""`orc up --detach`: the same `orc up` in a session of its own, and a parent that waits for it.

The child speaks to the parent's terminal until all is up; then it turns to its log and says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.local.data_dir import DataDir
from orchestrator.local.programs import orc_command, own_environment

DETACHING = ("--detach", "-d")


def start_detached(arguments: Sequence[str], data_dir: Path) -> int:
    """Start it and wait until it is up, or has failed and said why. Returns the exit code."""
    own = [each for each in arguments if each not in DETACHING]
    heard, told = os.pipe()
    command = [*orc_command(), *own, f"--data-dir={data_dir.absolute()}", f"--ready-fd={told}"]
    child = subprocess.Popen(
        command,
        env=own_environment(),
        stdin=subprocess.DEVNULL,
        pass_fds=(told,),
        start_new_session=True,
    )
    os.close(told)
    try:
        is_up = os.read(heard, 1) != b""
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait()
        return 128 + signal.SIGINT
    return 0 if is_up else child.wait()


def leave_terminal(ready_fd: int, data_dir: Path) -> None:
    """From now on speak to the log; let the waiting parent go."""
    log = os.open(DataDir(data_dir).turn_log("up"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.write(ready_fd, b"1")
    os.close(ready_fd)
