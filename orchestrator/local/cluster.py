"""`LocalCluster`: the processes of a cluster on this machine, up and down in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import aiohttp

from orchestrator.local.child import Child, Program
from orchestrator.local.programs import Layout
from orchestrator.local.record import (
    SUPERVISOR_ROLE,
    ClusterRecord,
    ProcessRecord,
    record_of,
    write_record,
)
from orchestrator.model.errors import StateError
from orchestrator.process.clock import boottime

READY_SECONDS = 60.0
LOOK_SECONDS = 0.05
PROGRESS_SECONDS = 5.0

GRACE_SECONDS = {"controller": 10.0, "agent": 120.0, "etcd": 20.0}
"""Agents stop their instances first, each in the grace that its workload gives it."""

TITLES = {"controller": "controllers", "agent": "agents and their instances", "etcd": "etcd"}


class LocalCluster:
    """`announce` gets a sentence for everything that happens to a process."""

    def __init__(self, layout: Layout, announce: Callable[[str], None]) -> None:
        self._layout = layout
        self._announce = announce
        self._children: dict[str, list[Child]] = {"controller": [], "agent": [], "etcd": []}

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """etcd, then agents, then controllers, each when the one before is ready: the first
        leader then finds all nodes there. `tasks` keep them running.

        Raises `StateError` for one that ends instead, or does not get ready.
        """
        layout = self._layout
        for programs in (layout.etcd_members(), layout.node_agents(), layout.controllers()):
            if programs:
                await self._start(tasks, programs)

    async def stop(self) -> None:
        """Controllers first, so that nobody replaces what agents stop; etcd last."""
        for role in self._children:
            await self._stop(role)
        self._layout.data_dir.cluster_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """At once, without order. What the agents ran goes on; `orc down` stops it."""
        for children in self._children.values():
            for child in children:
                child.kill()

    def record(self) -> None:
        """Say in `cluster.json` what runs now. That it cannot be written ends nothing that runs."""
        own = record_of(SUPERVISOR_ROLE, SUPERVISOR_ROLE, os.getpid())
        living = [self._record_of(child) for each in self._children.values() for child in each]
        record = ClusterRecord(
            str(self._layout.data_dir.path),
            self._layout.servers,
            self._layout.etcd_endpoints,
            tuple(each for each in (own, *living) if each),
        )
        try:
            write_record(self._layout.data_dir, record)
        except OSError as error:
            self._announce(
                f"cannot write {self._layout.data_dir.cluster_file}: {error.strerror}; until that"
                " is mended, `orc ps` and `orc down` miss what is started"
            )

    async def _start(self, tasks: asyncio.TaskGroup, programs: list[Program]) -> None:
        self._announce(f"starting {', '.join(program.title for program in programs)}")
        started = []
        for program in programs:
            child = Child(program, announce=self._announce, on_start=self.record)
            self._children[program.role].append(child)
            tasks.create_task(child.keep_running())
            started.append(child)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as waiting:
            for child in started:
                waiting.create_task(_until_ready(child, session))

    async def _stop(self, role: str) -> None:
        """Those in their restart pause too, or they would be started again."""
        children = self._children[role]
        if any(child.pid for child in children):
            self._announce(f"stopping {TITLES[role]}")
        telling = asyncio.create_task(self._tell_who_is_left(role))
        try:
            async with asyncio.TaskGroup() as stopping:
                for child in children:
                    stopping.create_task(child.stop(GRACE_SECONDS[role]))
        finally:
            telling.cancel()

    async def _tell_who_is_left(self, role: str) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if living := [each.program.title for each in self._children[role] if each.pid]:
                self._announce(f"still waiting for {', '.join(living)}")

    def _record_of(self, child: Child) -> ProcessRecord | None:
        program, pid = child.program, child.pid
        return record_of(program.role, program.name, pid, program.port) if pid else None


async def _until_ready(child: Child, session: aiohttp.ClientSession) -> None:
    program = child.program
    deadline = boottime() + READY_SECONDS
    while (missing := await _what_is_missing(program.ready_url, session)) is not None:
        if child.exits:
            raise StateError(f"{program.title} has ended: {last_words(program)}")
        if boottime() > deadline:
            raise StateError(
                f"{program.title} is not ready after {READY_SECONDS:g} s: {missing}; its log is"
                f" {program.log}"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def _what_is_missing(url: str, session: aiohttp.ClientSession) -> str | None:
    """None when it says that it is ready."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(2.0)) as answer:
            text = await answer.text()
            return None if answer.status == 200 else text.strip()
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or "no answer"


def last_words(program: Program) -> str:
    """The sentence that it ended with, or else where to look."""
    if not program.log.exists():
        return f"it has written no log at {program.log}"
    lines = program.log.read_text(errors="replace").splitlines()[-50:]
    sentences = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = f"{sentences[-1]}; " if sentences else ""
    return f"{said}its log is {program.log}"
