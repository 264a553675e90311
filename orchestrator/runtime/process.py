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
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.container_dir import ContainerDir, delete_tree
from orchestrator.runtime.held import HoldingRuntime
from orchestrator.runtime.log_files import read_log
from orchestrator.runtime.protocol import ContainerSpec, LogLine, RuntimeReport
from orchestrator.runtime.supervised import ProcessLimits, SupervisedContainer

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")

LOG_POLL_SECONDS = 0.2
"""A growing file has no event that asyncio could wait for (inotify is not in the library)."""


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
        super().__init__({})
        self._root = root.absolute()
        self._environment = dict(_inherited() if environment is None else environment)
        self._limits = limits or ProcessLimits()

    async def init_node(self) -> RuntimeReport:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        self, container: SupervisedContainer, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        return read_log(
            container.place.path,
            tail=tail,
            follow=follow,
            wait=lambda: container.may_write_more(LOG_POLL_SECONDS),
        )

    async def _clear_away(self, container: SupervisedContainer) -> None:
        container.close()
        await asyncio.to_thread(delete_tree, container.place.discard())

    def _found(self) -> tuple[SupervisedContainer, ...]:
        """What is on disk and not in memory. What means nothing is deleted."""
        found = []
        for path in self._root.iterdir():
            place = ContainerDir(path)
            if not path.is_dir() or path.name in self._containers:
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
