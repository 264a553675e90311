"""What can go wrong for a client of the API, and the exit code that says so.

OrchestrationError
├── NetworkError
│   ├── NoCluster          no server is known: start a cluster, or name one.
│   └── ServerUnreachable  none of the servers answered: try later.
│       └── StreamBroken   an answer that was being read has ended early: ask again.
├── Refused                a server understood and said no. Carries `status` and `problems`.
│   ├── NotFound           nothing of that name.
│   └── NotNow             the servers cannot serve it at present: try later.
├── Misunderstood          an answer that is not what this version expects.
├── Misuse                 the command line asks for what makes no sense.
└── WaitTimeout            asked for and accepted, but not true in the time allowed.
"""

from __future__ import annotations

from enum import IntEnum

from orchestrator.model.errors import ConfigError, NetworkError, OrchestrationError


class ExitCode(IntEnum):
    """What `orc` tells a script."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    TIMED_OUT = 5
    INTERRUPTED = 130


class NoCluster(NetworkError):
    pass


class ServerUnreachable(NetworkError):
    pass


class StreamBroken(ServerUnreachable):
    pass


class Refused(OrchestrationError):
    """`status` is the HTTP status; `problems` says, a sentence each, what is wrong."""

    def __init__(self, sentence: str, status: int = 0, problems: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.status = status
        self.problems = problems


class NotFound(Refused):
    pass


class NotNow(Refused):
    pass


class Misunderstood(OrchestrationError):
    pass


class Misuse(ConfigError):
    pass


class WaitTimeout(OrchestrationError):
    pass


def exit_code_of(error: OrchestrationError) -> ExitCode:
    if isinstance(error, NetworkError):
        return ExitCode.UNREACHABLE
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, WaitTimeout):
        return ExitCode.TIMED_OUT
    return ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED
