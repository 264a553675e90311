"""The files in which a supervisor tells: `supervisor.json`, `pid.json` and `exit.json`."""

import os
import time

from orchestrator.runtime.supervisor.processes import boot_id, start_ticks
from orchestrator.runtime.supervisor.start import NotStarted


def write_identity(name: str, pid: int) -> None:
    """A process as no other will ever be: pids come again, and after a boot start times too.

    Written whole or not at all, but not synced: no process outlives the machine.
    """
    record = _json(pid=pid, start_ticks=start_ticks(pid), boot_id=boot_id(), started_at=time.time())
    with open(f"{name}.tmp", "w") as file:
        file.write(record)
    os.rename(f"{name}.tmp", name)


class ExitFile:
    """`exit.json`. Its room is taken at once, so that a full disk cannot lose an exit code."""

    def __init__(self) -> None:
        self._fd = os.open("exit.json.tmp", os.O_WRONLY | os.O_CREAT, 0o600)
        os.posix_fallocate(self._fd, 0, 4096)

    def write(self, status: int | None, failure: NotStarted | None) -> None:
        """`status` is what waitpid gave; None when that was for another to have."""
        code = number = None
        if failure is None and status is not None:
            if os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        record = _json(
            code=code,
            signal=number,
            finished_at=time.time(),
            failed_at=failure.stage if failure else "",
            errno=failure.number if failure else 0,
        )
        os.pwrite(self._fd, record.encode(), 0)
        os.ftruncate(self._fd, len(record))
        os.fsync(self._fd)
        os.rename("exit.json.tmp", "exit.json")
        # The agent did not wait for the disk when it wrote what this belongs to.
        for name in ("spec.json", "."):
            os.fsync(os.open(name, os.O_RDONLY))


def _json(**members: str | float | None) -> str:
    """Enough for numbers and our own plain words; the module `json` takes 8 ms to import."""
    return "{" + ", ".join(f'"{name}": {_shown(value)}' for name, value in members.items()) + "}\n"


def _shown(value: str | float | None) -> str:
    if value is None:
        return "null"
    return f'"{value}"' if isinstance(value, str) else repr(value)
