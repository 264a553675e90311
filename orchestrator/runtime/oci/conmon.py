"""conmon: one small process for each container, its supervisor, which outlives the agent.

It has the runtime create the container, is the parent of its process, writes its log and its exit
code, and serves its streams at a socket. What it prints is version 2.1's own protocol, which our
tests hold it to.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.container_dir import ProcessRecord
from orchestrator.runtime.oci.children import ENVIRONMENT, Child, readable, spawn
from orchestrator.runtime.oci.command import Program
from orchestrator.runtime.oci.place import OciDir
from orchestrator.runtime.supervisor.processes import boot_id, start_ticks

CREATE_SECONDS = 120.0
"""A runtime creates within milliseconds; on a machine that starts a hundred at once, seconds."""


@dataclass(frozen=True, slots=True)
class ConmonCommand:
    """What is the same for all containers of a node."""

    program: Program
    runtime: str
    runtime_args: Sequence[str]
    log_bytes: int

    def argv(self, container_id: str, place: OciDir, *, tty: bool, stdin: bool) -> list[str]:
        path, run = place.path, place.run
        argv = [self.program.path, "--api-version", "1"]
        argv += ["-c", container_id, "-u", container_id, "-n", container_id]
        argv += ["-r", self.runtime, "-b", str(run), "--persist-dir", str(path)]
        argv += ["-p", f"{run}/pid", "-P", f"{run}/conmon.pid"]
        argv += ["-l", f"k8s-file:{path}/log", "--log-size-max", str(self.log_bytes)]
        argv += ["--log-level", "error", "--no-sync-log", "--full-attach"]
        argv += ["-t"] * tty + ["-i", "--leave-stdin-open"] * stdin
        for argument in self.runtime_args:
            argv += ["--runtime-arg", argument]
        return argv


@dataclass(frozen=True, slots=True)
class Launched:
    """A conmon that has been started, and the pipe on which it tells how the creation went."""

    child: Child
    told: int


def launch(argv: Sequence[str], directory: Path) -> Launched:
    """Raises OSError."""
    told, tells = os.pipe()
    said = os.open(directory / "conmon.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    environment = {**ENVIRONMENT, "_OCI_SYNCPIPE": str(tells)}
    try:
        child = spawn(argv, stdout=said, stderr=said, keep=(tells,), environment=environment)
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(said)
        os.close(tells)
    return Launched(child, told)


async def created(launched: Launched, place: OciDir) -> tuple[ProcessRecord, ProcessRecord]:
    """The container's process, which waits to be started, and its conmon.

    Raises `RuntimeError` with what the runtime has printed, as it is.
    """
    try:
        async with asyncio.timeout(CREATE_SECONDS):
            await launched.child.exit_code()  # it leaves another, which is conmon from now on
            answer = await _answer(launched.told)
    except TimeoutError:
        raise errors.RuntimeError(
            f"it was not created within {CREATE_SECONDS:.0f} s: look at what keeps the node busy"
        ) from None
    finally:
        os.close(launched.told)
    pid, message = _parsed(answer)
    if pid <= 0:
        raise errors.RuntimeError(message or place.said_by_conmon())
    conmon = int((place.run / "conmon.pid").read_text())
    return _identity(pid), _identity(conmon)


async def _answer(told: int) -> bytes:
    os.set_blocking(told, False)
    answer = b""
    while not answer.endswith(b"\n"):
        await readable(told)
        with suppress(BlockingIOError):
            piece = os.read(told, 64 * 1024)
            if not piece:
                return answer
            answer += piece
    return answer


def _parsed(answer: bytes) -> tuple[int, str]:
    """(pid, message): a pid below 1 if it failed."""
    try:
        fields = json.loads(answer)
        return int(fields["data"]), str(fields.get("message", ""))
    except (ValueError, KeyError, TypeError):
        return -1, answer.decode(errors="replace")


def _identity(pid: int) -> ProcessRecord:
    """Started now: what waits to be started owes its age to nobody."""
    return ProcessRecord(pid, start_ticks(pid), boot_id(), time.time())
