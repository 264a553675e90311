"""A command beside a container's own, by `exec --process` of its runtime.

What it may do is what the container's own process may: its process object, with another command.
So crun keeps no_new_privileges, which it drops otherwise. The runtime stays while the command
runs, and ends with its exit code. A terminal is between us and the runtime; runc and crun have one
more in the container and pass everything on. youki hands ours to the command, which it does not
control: there Ctrl-C is a character like any other. youki 0.7 also leaves out the seccomp filter.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import termios
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.model import errors
from orchestrator.runtime import syscalls
from orchestrator.runtime.commands import MARK, Command, open_pipes, open_terminal
from orchestrator.runtime.oci import words
from orchestrator.runtime.oci.children import Child, exit_code, spawn
from orchestrator.runtime.oci.command import Program, started
from orchestrator.runtime.oci.container import OciContainer
from orchestrator.runtime.oci.tools import EXEC_PREFIX, Tools
from orchestrator.runtime.oci.users import resolve_user
from orchestrator.runtime.process import problem_of_texts
from orchestrator.runtime.protocol import ExecRequest, NotExecuted
from orchestrator.runtime.supervisor.processes import stat_fields

NOT_FOUND, NOT_EXECUTABLE = 127, 126
LOOK_AGAIN_SECONDS = 0.005


class OciCommand(Command):
    _inside = 0
    """Its pid as the node sees it; `pid` is the runtime's."""

    _inside_pidfd = -1
    _first: tuple[tuple[str, bytes], ...] = ()
    """What it has printed before anybody asked."""

    async def run(
        self, tools: Tools, argv: Sequence[str], standard: tuple[int, int, int], pid_file: Path
    ) -> bool:
        """Whether the command was started. It is to be closed in any case."""
        stdin, stdout, stderr = standard
        terminal = os.ttyname(stdin) if self._ends.is_terminal else ""
        given = None if terminal else stdin

        def start() -> Child:
            return spawn(argv, stdin=given, terminal=terminal, stdout=stdout, stderr=stderr)

        apart = tools.command.apart
        child = await started(argv[0], start, apart if apart.hidden else None)
        self.pid, self._pidfd = child.pid, child.pidfd
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)
        self._watch = asyncio.create_task(self._end_with_container())
        while not (pid := _number(pid_file)) and not self._over.is_set():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_SECONDS)  # the file system has no event for us
        self._inside = pid or _number(pid_file)
        if self._inside:
            with suppress(ProcessLookupError):
                self._inside_pidfd = os.pidfd_open(self._inside)
        return self._inside > 0 and await self._has_begun(tools.command.program)

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        while self._first:
            piece, *rest = self._first
            self._first = tuple(rest)
            yield piece
        async for piece in super().output():
            yield piece

    async def exit_code(self) -> int | None:
        """From the kernel if it tells (since Linux 6.15): youki tells signals as exit codes."""
        code = await super().exit_code()
        if self._inside_pidfd >= 0:
            with suppress(OSError):
                status = syscalls.exit_status(self._inside_pidfd)
                return code if status is None else exit_code(status)
        return code

    async def _close(self) -> None:
        await super()._close()
        if self._inside_pidfd >= 0:
            os.close(self._inside_pidfd)
            self._inside_pidfd = -1

    async def _has_begun(self, program: Program) -> bool:
        """youki tells the pid before it knows whether there is such a command."""
        if program.name != "youki":
            return True
        while not _has_left(self._inside, program) and not self._over.is_set():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        if not self._over.is_set() or not self._code:
            return True
        self._first = tuple([piece async for piece in super().output()])
        return not words.is_of_exec(_text(self._first))

    async def resize(self, rows: int, columns: int) -> None:
        """crun 1.8 passes on that the size has changed, but not the size: so we set it inside."""
        await super().resize(rows, columns)
        if self._ends.is_terminal and not self._over.is_set():
            with suppress(OSError, termios.error):  # it may end at any moment
                inside = os.open(f"/proc/{self._inside}/fd/0", os.O_RDWR | os.O_NOCTTY)
                try:
                    termios.tcsetwinsize(inside, (rows, columns))
                finally:
                    os.close(inside)
            if _has_no_terminal(self._inside):
                os.kill(self._inside, signal.SIGWINCH)

    @property
    def mark(self) -> str:
        return self._mark


async def execute(tools: Tools, container: OciContainer, request: ExecRequest) -> OciCommand:
    """Raises `NotExecuted`, and `RuntimeError` if it cannot even be tried."""
    if not request.argv or not request.argv[0]:
        raise errors.RuntimeError("there is no command to run: name one")
    spec = replace(container.status.spec, argv=request.argv, env=request.env)
    if (problem := problem_of_texts(replace(spec, working_dir=request.working_dir))) is not None:
        raise errors.RuntimeError(problem)
    if request.tty:
        ends, its = open_terminal(request.rows, request.columns, has_input=request.stdin)
    else:
        ends, its = open_pipes(has_input=request.stdin)
    command = OciCommand(ends, container.ended, lambda _closed: None)
    is_running = False
    try:
        with tempfile.TemporaryDirectory(dir=tools.terms.run_dir, prefix=EXEC_PREFIX) as own:
            process = _process(container, request, f"{MARK}={command.mark}")
            (Path(own) / "process.json").write_text(json.dumps(process))
            argv = _argv(tools, container, request, Path(own))
            is_running = await command.run(tools, argv, its, Path(own) / "pid")
            if not is_running:
                raise await _refused(command, tools, request)
    finally:
        for fd in set(its):
            os.close(fd)
        if not is_running:
            await command.close()
    return command


def _argv(tools: Tools, container: OciContainer, request: ExecRequest, own: Path) -> list[str]:
    options = ["--process", str(own / "process.json"), "--pid-file", str(own / "pid")]
    options += ["--tty"] * request.tty
    return tools.command.argv("exec", *options, container.status.spec.id)


def _process(container: OciContainer, request: ExecRequest, mark: str) -> dict[str, Any]:
    """Raises `RuntimeError` if the container is not there to be entered any more."""
    try:
        config = json.loads((container.place.run / "config.json").read_text())
    except OSError as failure:
        raise errors.RuntimeError(f"nothing can be started in it: {failure}") from failure
    process: dict[str, Any] = config["process"]
    env = dict(pair.split("=", 1) for pair in process["env"])
    if request.user:
        user = resolve_user(Path(f"/proc/{container.status.pid}/root"), request.user)
        groups = list(user.groups)
        process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": groups}
        env["HOME"] = user.home
    if request.tty:
        env.setdefault("TERM", "xterm")
    name, _, value = mark.partition("=")
    env = {**env, **request.env, name: value}
    return {
        **process,
        "args": list(request.argv),
        "env": [f"{key}={text}" for key, text in env.items()],
        "cwd": str(Path(process["cwd"], request.working_dir)),
        "terminal": request.tty,
    }


def _number(file: Path) -> int:
    """0 if it is not there, or not written yet."""
    with suppress(FileNotFoundError, ValueError):
        return int(file.read_text())
    return 0


def _text(pieces: Sequence[tuple[str, bytes]]) -> str:
    return b"".join(piece for _, piece in pieces).decode(errors="replace")


def _has_left(pid: int, runtime: Program) -> bool:
    """Whether it runs another program by now than its runtime, or a copy of that in memory."""
    with suppress(OSError):
        program = os.readlink(f"/proc/{pid}/exe")
        return not program.startswith("/memfd:") and runtime.name not in program
    return False


def _has_no_terminal(pid: int) -> bool:
    """Whether no terminal controls it, which would tell it itself."""
    return stat_fields(pid)[4:5] == [b"0"]


async def _refused(command: OciCommand, tools: Tools, request: ExecRequest) -> NotExecuted:
    """In the words that the runtime has printed on the streams that were the command's."""
    said = _text([piece async for piece in command.output()])
    sentence = words.refusal(said, request.argv[0], tools.command.program.name)
    return NotExecuted(sentence, NOT_FOUND if words.is_missing(said) else NOT_EXECUTABLE)
