"""Starting a command beside the own one of a container that is a plain process."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from orchestrator.model import errors
from orchestrator.runtime.commands import Command, open_pipes, open_terminal
from orchestrator.runtime.container_dir import ExitRecord
from orchestrator.runtime.outcome import start_failure
from orchestrator.runtime.protocol import ExecRequest, NotExecuted
from orchestrator.runtime.supervised import SupervisedContainer
from orchestrator.runtime.supervisor.launch import ENTERED

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as shells have them."""

DEFAULT_TERMINAL = "xterm"


async def start_command(container: SupervisedContainer, request: ExecRequest) -> Command:
    """Raises `NotExecuted`, and `RuntimeError` if it cannot even be tried."""
    launch = container.launch_beside(request)
    if request.tty:
        launch.env.setdefault("TERM", DEFAULT_TERMINAL)
    try:
        (container.place.path / ENTERED).touch()  # first: its supervisor looks there in the end
        if request.tty:
            ends, its = open_terminal(request.rows, request.columns, has_input=request.stdin)
        else:
            ends, its = open_pipes(has_input=request.stdin)
    except OSError as failure:
        raise _not_tried(container, failure) from failure
    command = Command(ends, container.ended, lambda closed: _forget(container, closed))
    container.commands.add(command)
    is_running = False
    try:
        failed = await command.start(launch, its)
        is_running = failed is None
    except OSError as failure:
        raise _not_tried(container, failure) from failure
    finally:
        for fd in set(its):
            os.close(fd)
        if not is_running:
            await command.close()
    if failed is not None:
        raise _not_executed(container, request, *failed)
    return command


def _forget(container: SupervisedContainer, command: Command) -> None:
    container.commands.discard(command)
    container.past_cpu_seconds += command.cpu_seconds


def _not_tried(container: SupervisedContainer, failure: OSError) -> errors.RuntimeError:
    return errors.RuntimeError(f"nothing can be started in {container.status.spec.id}: {failure}")


def _not_executed(
    container: SupervisedContainer, request: ExecRequest, stage: str, number: int
) -> NotExecuted:
    spec = replace(container.status.spec, argv=request.argv)
    if request.working_dir:
        spec = replace(spec, working_dir=request.working_dir)
    sentence = start_failure(spec, ExitRecord(None, None, 0.0, stage, number))
    is_missing = (stage, number) == ("exec", errno.ENOENT)
    return NotExecuted(sentence, NOT_FOUND if is_missing else NOT_EXECUTABLE)
