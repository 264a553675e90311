"""Processes that the agent starts or watches, by pidfd, in asyncio's terms."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from orchestrator.runtime.container_dir import ProcessRecord

ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
"""All that runtimes and conmon get of ours. Nothing that systemd tells the agent (NOTIFY_SOCKET):
a runtime would pass that on, and wait for the container to answer. Logs have their times in UTC."""


def exit_code(status: int) -> int:
    """128 + n for signal n; `status` is as waitpid gives it."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


async def readable(fd: int) -> None:
    """Returns when `fd` can be read, or has come to its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


class Process:
    """Any process, held by its pidfd: signals cannot hit another that has its pid later."""

    def __init__(self, pidfd: int) -> None:
        self.pidfd = pidfd
        self._over: asyncio.Event | None = None

    @classmethod
    def find(cls, record: ProcessRecord | None) -> Process | None:
        """None if it has ended."""
        if record is None:
            return None
        try:
            found = cls(os.pidfd_open(record.pid))
        except ProcessLookupError:
            return None
        if record.is_alive:  # asked after opening: now the pid cannot change its owner
            return found
        found.close()
        return None

    async def ended(self) -> None:
        if self._over is None:
            self._over = asyncio.Event()
            asyncio.get_running_loop().add_reader(self.pidfd, self._on_end)
        await self._over.wait()

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Who still waits for its end waits in vain."""
        if self._over is not None and not self._over.is_set():
            asyncio.get_running_loop().remove_reader(self.pidfd)
        os.close(self.pidfd)

    def _on_end(self) -> None:
        assert self._over is not None
        asyncio.get_running_loop().remove_reader(self.pidfd)
        self._over.set()


class Child(Process):
    """A process of ours that must be waited for."""

    def __init__(self, pid: int) -> None:
        super().__init__(os.pidfd_open(pid))
        self.pid = pid

    async def exit_code(self) -> int:
        """128 + n for signal n. Its pidfd is closed then. A cancelled caller kills it."""
        try:
            await self.ended()
        except asyncio.CancelledError:
            self.send(signal.SIGKILL)
            raise
        finally:
            status = self._reaped()
        is_killed = status.si_code != os.CLD_EXITED
        return status.si_status + 128 if is_killed else status.si_status

    def _reaped(self) -> os.waitid_result:
        """It has ended, or will in a moment: it has been killed."""
        status = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.close()
        assert status is not None
        return status


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | None = None,
    terminal: str = "",
    stdout: int,
    stderr: int,
    keep: Sequence[int] = (),
    environment: Mapping[str, str] = ENVIRONMENT,
) -> Child:
    """Start a program, by posix_spawn: a fork would copy the page tables of a large agent.

    Without `stdin` it reads nothing. Of all other descriptors it gets those in `keep`. `terminal`
    is the path of the one that is to control it, its standard input: the first that the leader of
    a new session opens.
    """
    opened = (os.POSIX_SPAWN_OPEN, 0, terminal or os.devnull, os.O_RDWR, 0)
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        environment,
        file_actions=[
            opened if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep),  # onto itself: stays open
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # what Python ignores
    )
    return Child(pid)
