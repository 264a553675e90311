"""What the processes of containers use, as /proc tells it: read once for all containers.

Those of a container are the ones below its supervisor, which inherits what daemonises; those in
its session, should a second supervisor have taken over; and the sessions of commands beside it.
A process counts what its ended children have used, and the supervisor has the orphans, so that
nothing is lost when one ends.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.runtime.protocol import ContainerUsage
from orchestrator.runtime.supervised import SupervisedContainer
from orchestrator.runtime.supervisor.processes import stat_fields

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1_000_000


@dataclass(frozen=True, slots=True)
class _Row:
    """Of /proc/<pid>/stat. Ticks are of user and system together."""

    pid: int
    parent: int
    session: int
    ticks: int
    ticks_of_ended_children: int
    pages: int


class ProcessTable:
    """All processes of this machine at one moment."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._by_pid = {row.pid: row for row in rows}
        self._below: defaultdict[int, list[_Row]] = defaultdict(list)
        self._by_session: defaultdict[int, list[_Row]] = defaultdict(list)
        for row in self._by_pid.values():
            self._below[row.parent].append(row)
            self._by_session[row.session].append(row)

    @classmethod
    def read(cls) -> ProcessTable:
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return cls(_row(pid, stat) for pid in pids if (stat := stat_fields(pid)))

    def ended_below(self, pid: int) -> int:
        """The ticks of the children that ended under `pid`."""
        row = self._by_pid.get(pid)
        return row.ticks_of_ended_children if row else 0

    def below(self, pid: int) -> Iterator[_Row]:
        waiting = [pid]
        while waiting:
            rows = self._below.get(waiting.pop(), [])
            yield from rows
            waiting += [row.pid for row in rows]

    def in_session(self, session: int) -> Iterable[_Row]:
        return self._by_session.get(session, ())


class ProcessTables:
    """Reads one for all who ask at the same time."""

    def __init__(self) -> None:
        self._reading: asyncio.Task[ProcessTable] | None = None

    async def latest(self) -> ProcessTable:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(asyncio.to_thread(ProcessTable.read))
        return await asyncio.shield(self._reading)


def usage_of(container: SupervisedContainer, table: ProcessTable) -> ContainerUsage | None:
    """None if it runs no more. Memory is what is resident; what several share counts for each."""
    process = container.place.process()
    if process is None or not process.is_alive:
        return None
    spec, supervisor = container.status.spec, container.place.supervisor()
    sessions = [process.pid, *(command.pid for command in container.commands)]
    rows = {row.pid: row for session in sessions for row in table.in_session(session)}
    ticks = 0
    if supervisor is not None and supervisor.is_alive:
        rows |= {row.pid: row for row in table.below(supervisor.pid)}
        ticks = table.ended_below(supervisor.pid)
    ticks += sum(row.ticks + row.ticks_of_ended_children for row in rows.values())
    return ContainerUsage(
        spec.id,
        spec.instance,
        spec.container,
        cpu_seconds=ticks / TICKS_A_SECOND + container.past_cpu_seconds,
        memory_mb=sum(row.pages for row in rows.values()) * PAGE_MB,
        memory_limit_mb=spec.limits.memory_mb or None,
        processes=len(rows),
    )


def _row(pid: int, stat: list[bytes]) -> _Row:
    user, system, ended_user, ended_system = map(int, stat[11:15])
    return _Row(
        pid,
        parent=int(stat[1]),
        session=int(stat[3]),
        ticks=user + system,
        ticks_of_ended_children=ended_user + ended_system,
        pages=int(stat[21]),
    )
