"""The start of a container's process: what happens between fork and exec."""

import errno
import os
from itertools import pairwise

from orchestrator.runtime.supervisor.launch import Launch
from orchestrator.runtime.supervisor.signals import restore_what_python_ignores

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where a command is looked for if its environment has no PATH."""

OOM_SCORE = "/proc/self/oom_score_adj"


class NotStarted(Exception):
    """`stage` is `fork`, `limits`, `working_dir` or `exec`; `number` is the errno."""

    def __init__(self, stage: str, number: int) -> None:
        super().__init__(stage, number)
        self.stage = stage
        self.number = number


class Starting:
    """A forked process that waits at a gate until its supervisor lets it go on.

    It goes away if the supervisor dies before that. So nothing runs whose pid is not on disk.
    """

    def __init__(self, launch: Launch, stdout: int, stderr: int) -> None:
        gate, self._opener = os.pipe()
        self._failure, teller = os.pipe()
        try:
            self.pid = os.fork()
        except OSError as refused:
            raise NotStarted("fork", refused.errno or errno.EAGAIN) from None
        if self.pid == 0:
            os.close(self._opener)
            if not os.read(gate, 1):
                os._exit(127)
            become(launch, teller, (stdout, stderr))
        for fd in (gate, teller):
            os.close(fd)

    def go_on(self) -> None:
        """Returns when the command runs. Raises `NotStarted`."""
        os.write(self._opener, b"!")
        told = os.read(self._failure, 64).decode()  # exec closes the other end
        for fd in (self._opener, self._failure):
            os.close(fd)
        if told:
            stage, _, number = told.partition(" ")
            raise NotStarted(stage, int(number))


def become(launch: Launch, teller: int, outputs: tuple[int, int] | None = None) -> None:
    """Turn this process into what `launch` tells. Does not return: if it cannot, `teller` is
    written the stage and the errno.

    With `outputs` it gets those, no input, and a session of its own; else it keeps what it has.
    """
    stage = "limits"
    try:
        if outputs is not None:
            os.setsid()
            for fd, source in enumerate((os.open(os.devnull, os.O_RDONLY), *outputs)):
                os.dup2(source, fd)
        restore_what_python_ignores()
        _take_no_cover()
        _limit(launch)
        stage = "working_dir"
        os.chdir(launch.working_dir)
        stage = "exec"
        _execute(launch.argv, launch.env)
    except (OSError, ValueError) as failure:
        number = getattr(failure, "errno", None) or errno.EINVAL
        os.write(teller, f"{stage} {number}".encode())
    finally:
        os._exit(127)


def keep_only(fds: list[int]) -> None:
    """Close all others above the standard three, and let none of them through an exec."""
    for below, fd in pairwise((2, *sorted(fds), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(below + 1, fd)
    for fd in fds:
        os.set_inheritable(fd, False)


def _take_no_cover() -> None:
    """An agent may be shielded from dying for want of memory; what it runs must not be."""
    with open(OOM_SCORE) as score:
        is_shielded = int(score.read()) < 0
    if is_shielded:
        with open(OOM_SCORE, "w") as score:
            score.write("0")


def _limit(launch: Launch) -> None:
    """Never above what the agent may use itself: a plain user can no more."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = _lower(launch.open_files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if launch.memory_bytes:
        memory = _lower(launch.memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1])
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _lower(wanted: int, hard: int) -> int:
    return wanted if hard < 0 else min(wanted, hard)  # -1 is RLIM_INFINITY


def _execute(argv: tuple[str, ...], env: dict[str, str]) -> None:
    """As `os.execvpe` does, without the modules that it imports."""
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)
    denied: OSError | None = None
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        try:
            os.execve(f"{directory or '.'}/{argv[0]}", argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as refused:
            denied = refused
    raise denied or FileNotFoundError(errno.ENOENT, "not found")
