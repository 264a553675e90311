"""An OCI runtime's command line: the part of it that youki, crun and runc have in common."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.oci.apart import Apart
from orchestrator.runtime.oci.children import Child, spawn
from orchestrator.runtime.oci.words import last_line

CALL_SECONDS = 60.0
"""A call takes milliseconds; on a machine that is busy starting a hundred others, seconds."""

HYBRID = Path("/sys/fs/cgroup/unified")

_VERSION = re.compile(r"(\w[\w.-]*) version:? (\S+)")
"""How their first line begins; that of others may say further down that they are under the GPL,
version 3."""


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Program:
    """`name` and `version` as the program itself says them; `path` is absolute."""

    path: str
    name: str
    version: str


async def probe(program: str, what: str, *, name: str = "") -> Program:
    """Raises `RuntimeError` if it cannot be run, or does not say what it is; and if that is not
    `name`, unless that is empty."""
    path = found(program, what)
    finished = await call([path, "--version"])
    match = _VERSION.match(finished.stdout.lstrip())
    if finished.code or match is None:
        said = last_line(finished.stderr or finished.stdout) or "nothing"
        raise errors.RuntimeError(
            f"{path} does not work as {what}: asked for its version it said {said!r}"
            f" (exit code {finished.code}); install another, or correct the setting"
        )
    if name and match[1] != name:
        raise errors.RuntimeError(
            f"{path} is no {name}, but says that it is {match[1]} {match[2]}: correct the agent's"
            f" setting (--{name})"
        )
    return Program(path, match[1], match[2])


def found(program: str, what: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise errors.RuntimeError(
            f"{what} {program!r} is not there or not executable: install it on the node, or"
            " correct the agent's setting"
        )
    return os.path.abspath(path)


async def call(argv: Sequence[str], apart: Apart | None = None) -> Finished:
    """Run a program to its end. Raises `RuntimeError` if it cannot be started or hangs."""
    stdout, stderr = os.memfd_create("stdout"), os.memfd_create("stderr")

    def start() -> Child:
        return spawn(argv, stdout=stdout, stderr=stderr)

    try:
        child = await started(argv[0], start, apart)
        async with asyncio.timeout(CALL_SECONDS):
            code = await child.exit_code()
        return Finished(code, _read(stdout), _read(stderr))
    except TimeoutError:
        shown = " ".join(Path(word).name for word in argv[:1]) + f" {argv[-2]}"
        raise errors.RuntimeError(
            f"{shown} has not come to an end within {CALL_SECONDS:.0f} s and was killed"
        ) from None
    finally:
        os.close(stdout)
        os.close(stderr)


async def started(program: str, start: Callable[[], Child], apart: Apart | None) -> Child:
    try:
        return start() if apart is None else await apart.run(start)
    except (FileNotFoundError, PermissionError) as failure:
        raise errors.RuntimeError(disappeared(program)) from failure


def disappeared(program: str) -> str:
    return (
        f"{program} has disappeared from the node, or can no longer be executed: install it again;"
        " what runs is left alone"
    )


def _read(fd: int) -> str:
    return os.pread(fd, 64 * 1024, 0).decode(errors="replace")


class RuntimeCommand:
    """`state_dir` is where the runtime keeps what it knows; it is ours alone."""

    def __init__(self, program: Program, args: Sequence[str], state_dir: Path) -> None:
        self.program = program
        self.state_dir = state_dir
        self.args = (*args, "--root", str(state_dir))
        self.apart = Apart(_to_hide(program))

    def argv(self, *words: str) -> list[str]:
        return [self.program.path, *self.args, *words]

    def knows(self, container_id: str) -> bool:
        return (self.state_dir / container_id).exists()

    async def start(self, container_id: str) -> None:
        """Raises `RuntimeError` in the runtime's own words."""
        finished = await self._call("start", container_id)
        if finished.code:
            raise errors.RuntimeError(finished.stderr)

    async def is_created_only(self, container_id: str) -> bool:
        """Whether its command has not been started yet."""
        finished = await self._call("state", container_id)
        try:
            return bool(json.loads(finished.stdout)["status"] in {"creating", "created"})
        except (ValueError, KeyError, TypeError):
            return False

    async def delete(self, container_id: str) -> bool:
        """Whether nothing of it is left for the runtime to delete."""
        try:
            finished = await self._call("delete", container_id)
        except errors.RuntimeError:
            return False
        return finished.code == 0 and not self.knows(container_id)

    async def _call(self, *words: str) -> Finished:
        hides = bool(self.apart.hidden)
        return await call(self.argv(*words), self.apart if hides else None)

    def close(self) -> None:
        self.apart.close()


def _to_hide(program: Program) -> tuple[str, ...]:
    """crun will not work where both versions of cgroups have controllers."""
    if program.name != "crun":
        return ()
    try:
        is_hybrid = bool((HYBRID / "cgroup.controllers").read_text().strip())
    except OSError:
        return ()
    return (str(HYBRID),) if is_hybrid else ()
