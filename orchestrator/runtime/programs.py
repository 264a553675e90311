"""Short programs (CNI plugins, iptables-restore, skopeo): with a time limit, and none outlives its
agent unnoticed.

Each has a lock file open for as long as it, or a program that it has started, runs. So an agent
that starts can tell whether one that an earlier agent has started is still at work, and end it:
what such a straggler makes after the sweep would be nobody's.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors

STRAGGLER_SECONDS = 10.0
KILLED_SECONDS = 1.0
"""For a killed program to be gone; one that hangs in the kernel is left behind."""

LOOK_AGAIN_SECONDS = 0.01
MOST_OUTPUT_BYTES = 1_000_000
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where iptables is, in addition to the agent's own PATH."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`status` is the exit code, or -n for signal n."""

    status: int
    output: bytes
    complaint: str


class Programs:
    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self.path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
        """Where programs are looked for by name."""

    async def run(
        self,
        argv: Sequence[str],
        given: bytes,
        seconds: float,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """`given` is its standard input, and `environment` comes on top of the agent's own.

        Raises TimeoutError, with it and what it has started killed, and OSError. `argv[0]` is a
        path. Files take the place of pipes: nobody has to be there to read or to write.
        """
        with ExitStack() as closing:
            files = [_memory_file(closing) for _ in range(3)]
            os.pwrite(files[0], given, 0)
            pid = self._spawn(argv, files, environment or {})
            status = await _end_of(pid, seconds)
            output, said = map(_content, files[1:])
            return Ended(status, output, said.decode(errors="replace").strip())

    def _spawn(self, argv: Sequence[str], files: list[int], environment: Mapping[str, str]) -> int:
        with ExitStack() as closing:
            lock = self._open(closing)
            fcntl.flock(lock, fcntl.LOCK_SH)
            return os.posix_spawn(
                argv[0],
                tuple(argv),
                {**os.environ, "PATH": self.path, **environment},
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)),
                    (os.POSIX_SPAWN_DUP2, lock, lock),  # onto itself: stays open
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )

    async def end_stragglers(self) -> None:
        """Return when nothing runs that an earlier agent has started. Raises `RuntimeError`."""
        with ExitStack() as closing:
            lock = self._open(closing)
            try:
                async with asyncio.timeout(STRAGGLER_SECONDS):
                    while not _is_taken(lock):
                        self._kill_holders()
                        await asyncio.sleep(LOOK_AGAIN_SECONDS)
            except TimeoutError:
                pids = ", ".join(map(str, self._holders()))
                raise errors.RuntimeError(
                    f"process {pids}, which an earlier agent has started for its containers, does"
                    " not end though it was killed: only a reboot helps if it hangs in the kernel"
                ) from None

    def _kill_holders(self) -> None:
        for pid in self._holders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _open(self, closing: ExitStack) -> int:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        closing.callback(os.close, fd)
        return fd

    def _holders(self) -> Iterator[int]:
        """All processes but this one that have the lock file open."""
        lock = os.stat(self._lock)
        for each in Path("/proc").glob("[0-9]*/fd/*"):
            pid = int(each.parts[2])
            with suppress(OSError):
                if pid != os.getpid() and os.path.samestat(each.stat(), lock):
                    yield pid


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _memory_file(closing: ExitStack) -> int:
    fd = os.memfd_create("program")
    closing.callback(os.close, fd)
    return fd


def _content(file: int) -> bytes:
    return os.pread(file, min(os.fstat(file).st_size, MOST_OUTPUT_BYTES), 0)


def _pidfd(pid: int) -> int:
    """Of a child. One that cannot be watched is not let run."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


async def _end_of(pid: int, seconds: float) -> int:
    pidfd = _pidfd(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        status = _reaped(pid, pidfd, by_force=not ended.is_set())
    return os.waitstatus_to_exitcode(status)


def _reaped(pid: int, pidfd: int, *, by_force: bool) -> int:
    if by_force:
        os.killpg(pid, signal.SIGKILL)
        select.select([pidfd], [], [], KILLED_SECONDS)
    os.close(pidfd)
    return os.waitpid(pid, os.WNOHANG)[1]
