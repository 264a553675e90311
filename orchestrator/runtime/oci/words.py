"""A runtime's own words, as one clear sentence for the instance's status. Pure."""

from __future__ import annotations

import re

from orchestrator.runtime.outcome import shown

_LEVELLED = re.compile(r'level=(?:error|fatal|warning) msg="((?:[^"\\]|\\.)*)"')
"""logrus, as runc has it."""

_PREAMBLE = re.compile(
    r"(?:runc \w+ failed: )?(?:unable to start container process: )?"
    r"(?:error during container init: )?"
    r"|(?:Error: )?failed to create container: "
)
"""What runtimes say before they say what it was."""

_NOT_FOUND = re.compile(
    r"executable .*not found in \$?PATH|no such file or directory|NotFound|ENOENT", re.I
)
_NOT_EXECUTABLE = re.compile(r"permission denied|not permitted|correct permissions|EACCES", re.I)
_NO_PROGRAM = re.compile(r"exec format error|ENOEXEC", re.I)
_OF_COMMAND = re.compile(r"executable|exec[: ]|exec container process|execv|command", re.I)


def refusal(said: str, command: str, runtime: str) -> str:
    """Why a container could not be created or started. `said` is all that its runtime printed."""
    line = _last(said)
    if not line:
        return f"{runtime} could not start it, and did not say why"
    if _OF_COMMAND.search(line):
        if _NO_PROGRAM.search(line):
            return (
                f"command {command!r} is neither a program for this machine nor a script with a #!"
                " line: correct it, or run it by its interpreter"
            )
        if _NOT_FOUND.search(line):
            return _not_found(command)
        if _NOT_EXECUTABLE.search(line):
            return (
                f"command {command!r} is not executable: `chmod +x` it in the image, or correct"
                " `command`"
            )
    return f"{runtime} could not start it: {shown(line)}"


def is_of_exec(said: str) -> bool:
    """Whether it tells of a command that could not be started, as runtimes do."""
    line = _last(said)
    is_known = any(each.search(line) for each in (_NOT_FOUND, _NOT_EXECUTABLE, _NO_PROGRAM))
    return is_known and bool(_OF_COMMAND.search(line))


def is_missing(said: str) -> bool:
    """Whether it was the command that is not there."""
    return bool(_NOT_FOUND.search(_last(said)))


def _not_found(command: str) -> str:
    if "/" in command:
        return (
            f"command {command!r} is not found in its image, nor the interpreter that its first"
            " line names: add it there, or correct `command`"
        )
    return f"command {command!r} is not found on the PATH of its image: correct `command`"


def last_line(said: str) -> str:
    """The last line that says something, fit to be shown."""
    return shown(_last(said))


def _last(said: str) -> str:
    """Without what is only there for machines."""
    levelled = _LEVELLED.findall(said)
    lines = levelled or [line for line in said.splitlines() if line.strip()]
    line = lines[-1].replace('\\"', '"').replace("\\n", " ") if lines else ""
    preamble = _PREAMBLE.match(line)
    return line[preamble.end() :] if preamble else line
