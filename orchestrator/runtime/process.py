"""Containers as plain processes: no image, no isolation, no privilege and no daemon needed.

What a plain user can limit is limited: `memory_mb` is RLIMIT_AS, which counts *virtual* memory,
too strict for programs that reserve much and use little (JVM, Go, V8). There is no limit of CPU
(niceness is none) nor of the disk: that takes an OCI runtime.

A process that has become a daemon is killed with its container as well; `supervisor.main` tells
how, and who could get away.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.attached import AttachedLog
from orchestrator.runtime.container_dir import ContainerDir, delete_tree
from orchestrator.runtime.executing import start_command
from orchestrator.runtime.held import HoldingRuntime
from orchestrator.runtime.log_files import read_log
from orchestrator.runtime.previous_logs import FOLDER, PreviousLogs
from orchestrator.runtime.process_usage import ProcessTables, usage_of
from orchestrator.runtime.protocol import (
    ContainerSpec,
    ContainerUsage,
    ExecRequest,
    LogLine,
    LogQuery,
    RuntimeReport,
    Streams,
)
from orchestrator.runtime.supervised import ProcessLimits, SupervisedContainer
from orchestrator.runtime.watching import Trace

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")

LOG_POLL_SECONDS = 0.2
"""A growing file has no event that asyncio could wait for (inotify is not in the library)."""

ATTACHED_TAIL = 1_000
"""Lines of a log that are looked through for those since a moment ago."""


class ProcessRuntime(HoldingRuntime[SupervisedContainer]):
    """A `ContainerRuntime` with a directory for each container under `root`, which is its alone.

    `environment` is what a container finds besides its spec's own variables, and under them;
    by default the few of the agent's that every program counts on.
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: ProcessLimits | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root.absolute()
        self._previous = PreviousLogs(self._root / FOLDER)
        super().__init__({}, self._previous)
        self._tables = ProcessTables()
        self._environment = dict(_inherited() if environment is None else environment)
        self._limits = limits or ProcessLimits()

    async def init_node(self) -> RuntimeReport:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._previous.open)
        for container in await asyncio.to_thread(self._found):
            self._containers[container.status.spec.id] = container
        async with asyncio.TaskGroup() as adopting:
            for container in self._containers.values():
                if not container.settled.is_set():
                    adopting.create_task(container.adopt())
        for container in list(self._containers.values()):
            if container.place.is_half_made:
                await self.remove(container.status.spec.id)
        versions = {"python": platform.python_version(), "kernel": platform.release()}
        return RuntimeReport(("process",), versions)

    def problem(self) -> str:
        return ""

    def trace(self, spec: ContainerSpec) -> Trace:
        return Trace(str(self._root / spec.id))

    async def close(self) -> None:
        for container in self._containers.values():
            container.close()

    def _begin(self, spec: ContainerSpec) -> SupervisedContainer:
        if (problem := _problem(spec)) is not None:
            raise errors.RuntimeError(problem)
        place = ContainerDir(self._root / spec.id)
        container = self._held(place, spec)
        try:
            place.create(spec)
            container.start()
        except OSError as failure:
            container.close()
            with suppress(OSError):
                delete_tree(place.discard())
            raise errors.RuntimeError(f"{spec.id} cannot be started: {failure}") from failure
        return container

    def _read(
        self, container: SupervisedContainer, query: LogQuery
    ) -> AsyncGenerator[LogLine, None]:
        path = container.place.path
        return read_log(path, query, lambda: container.may_write_more(LOG_POLL_SECONDS))

    async def _exec(self, container: SupervisedContainer, request: ExecRequest) -> Streams:
        if (problem := _problem_within(container.status.spec, request)) is not None:
            raise errors.RuntimeError(problem)
        return await start_command(container, request)

    async def _attach(self, container: SupervisedContainer) -> Streams:
        """Line by line, as they are in the log: what has no end yet is not shown."""
        query = LogQuery(follow=True, tail=ATTACHED_TAIL, since=time.time())
        return AttachedLog(container, self._read(container, query))

    async def _usage(self, container: SupervisedContainer) -> ContainerUsage | None:
        return usage_of(container, await self._tables.latest())

    async def _clear_away(self, container: SupervisedContainer) -> None:
        container.close()
        self._previous.keep(container.place.path, container.status.spec.id)
        await asyncio.to_thread(self._delete, container.place.discard())

    def _delete(self, gone: Path) -> None:
        delete_tree(gone)
        self._previous.sweep()

    def _found(self) -> tuple[SupervisedContainer, ...]:
        """What is on disk and not in memory. What means nothing is deleted."""
        found = []
        for path in self._root.iterdir():
            place = ContainerDir(path)
            if not path.is_dir() or path.name in {FOLDER, *self._containers}:
                continue
            if path.name.startswith(".") or (spec := place.spec()) is None:
                delete_tree(path)
            else:
                found.append(self._held(place, spec))
        return tuple(found)

    def _held(self, place: ContainerDir, spec: ContainerSpec) -> SupervisedContainer:
        return SupervisedContainer(place, spec, self._limits, self._environment, self._woken)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


def _problem(spec: ContainerSpec) -> str | None:
    """Why no process can be started with this, before anything is tried."""
    if not spec.argv or not spec.argv[0]:
        return f"{spec.id} has no command, and without an image there is none to take"
    if "/" in spec.id or spec.id.startswith("."):
        return f"{spec.id!r} cannot be a container's id"
    return problem_of_texts(spec)


def _problem_within(spec: ContainerSpec, request: ExecRequest) -> str | None:
    """Why no process can be started beside the container's own with this."""
    if not request.argv or not request.argv[0]:
        return "there is no command to run: name one"
    if request.user:
        return (
            f"{spec.id} is a plain process and has its agent's user: leave out the user"
            f" {request.user!r}"
        )
    beside = replace(spec, argv=request.argv, env=request.env, working_dir=request.working_dir)
    return problem_of_texts(beside)


def problem_of_texts(spec: ContainerSpec) -> str | None:
    texts = (*spec.argv, spec.working_dir, *spec.env, *spec.env.values())
    if not all(_is_passable(text) for text in texts):
        return (
            f"{spec.id} has a zero byte or half a character (a lone surrogate) in its command,"
            " working directory or environment"
        )
    if any(not name or "=" in name for name in spec.env):
        return f"{spec.id} has an environment variable without a name or with '=' in it"
    return None


def _is_passable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
