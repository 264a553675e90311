"""Freezing a real child process."""

from __future__ import annotations

import os
import signal
import subprocess


def pause(process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP: its connections stay open, and nothing is answered.

    Waits until it has stopped: the signal stops all threads only once one of them is scheduled,
    and on a busy machine the others may go on answering until then.
    """
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
