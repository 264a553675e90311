"""Starting a supervisor, as a process that owes nothing to the agent but its standard input; and
commands beside a container's own, as children that the agent keeps."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from orchestrator.runtime.container_dir import ContainerDir
from orchestrator.runtime.supervisor.launch import MARK, Launch

PROGRAM = Path(__file__).resolve().with_name("supervise.py")
ENTERING = PROGRAM.with_name("enter.py")


def spawn_supervisor(place: ContainerDir, launch: Launch) -> tuple[int, int]:
    """Returns its pidfd, and a pipe that ends when its start is over. Raises OSError.

    It is born with all that it needs in hand. With the directory's lock: so whoever comes later
    can tell that it is there, however early it is. With the ends of the FIFOs: so what a container
    has written is not lost if it exits before a new supervisor has read it.
    """
    with ExitStack() as ours:

        def owned(fd: int) -> int:
            ours.callback(os.close, fd)
            return fd

        lock = place.lock()
        if lock is None:
            raise BlockingIOError(f"{place.path} has a supervisor already")
        fds = [owned(lock)]
        told = owned(os.memfd_create("launch"))
        os.pwrite(told, launch.pack(), 0)
        heard, ready = os.pipe()
        fds.append(owned(ready))
        with ExitStack() as on_failure:
            on_failure.callback(os.close, heard)
            fds += [owned(place.open_fifo(stream)) for stream in ("stdout", "stderr")]
            pidfd = _pidfd(_spawn(place, told, fds))
            on_failure.pop_all()
        return pidfd, heard


def spawn_command(launch: Launch, standard: tuple[int, int, int]) -> tuple[int, int]:
    """Start `launch` with these three as its standard streams, in a session of its own; the first
    is its terminal if it is one. Returns its pid, and a pipe that ends when it runs, or tells the
    stage and the errno at which it failed. Raises OSError.

    It is killed when the thread that calls this ends.
    """
    with ExitStack() as ours:
        told = os.memfd_create("launch")
        ours.callback(os.close, told)
        os.pwrite(told, launch.pack(), 0)
        heard, teller = os.pipe()
        ours.callback(os.close, teller)
        with ExitStack() as on_failure:
            on_failure.callback(os.close, heard)
            pid = os.posix_spawn(
                sys.executable,
                python(ENTERING, str(told), str(teller), str(os.getpid())),
                {**os.environ, MARK: launch.env[MARK]},
                file_actions=[
                    *((os.POSIX_SPAWN_DUP2, source, fd) for fd, source in enumerate(standard)),
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in (told, teller)),
                ],
                setsid=True,
                setsigmask=[],
            )
            on_failure.pop_all()
        return pid, heard


def python(program: Path, *arguments: str) -> list[str]:
    """The command line of one of our small programs."""
    return [sys.executable, "-I", "-S", "-X", "utf8", str(program), *arguments]


def _pidfd(pid: int) -> int:
    """Of a child. One that could not be watched does not get the time to start anything."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _spawn(place: ContainerDir, told: int, inherited: list[int]) -> int:
    """By posix_spawn: a fork would copy the page tables of a large agent."""
    said = str(place.path / "supervisor.err")
    return os.posix_spawn(
        sys.executable,
        python(PROGRAM, str(place.path), *map(str, inherited)),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, told, 0),
            (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited),  # onto itself: stays open
        ],
        setsid=True,
        setsigmask=[],
    )
