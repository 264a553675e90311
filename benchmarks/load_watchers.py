"""Clients that watch all workloads at one controller, and note when they are told of a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from benchmarks.scheduling_cluster import workload
from orchestrator.cli.client import ApiClient

AT_ONCE = 50
LIMIT_SECONDS = 60.0
CHANGED = "bench-0"


@dataclass(slots=True)
class Watchers:
    """`waiting` are those who have not been told of the last change yet."""

    count: int
    waiting: int = 0
    told_at: list[float] = field(default_factory=list)
    all_told: asyncio.Event = field(default_factory=asyncio.Event)
    _mark: bytes = b""

    @classmethod
    @asynccontextmanager
    async def at(cls, server: str, count: int) -> AsyncIterator[Watchers]:
        watchers = cls(count)
        url = f"{server}/v1/watch?kind=workloads"
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20
            ) as session,
            AsyncExitStack() as stack,
            asyncio.TaskGroup() as tasks,
        ):
            reading = []
            for first in range(0, count, AT_ONCE):
                at_once = min(AT_ONCE, count - first)
                answers = [stack.enter_async_context(session.get(url)) for _ in range(at_once)]
                for answer in await asyncio.gather(*answers):
                    await _synced(answer)
                    reading.append(tasks.create_task(watchers._read(answer)))
            yield watchers
            for task in reading:
                task.cancel()

    async def told_of(self, client: ApiClient, number: int) -> list[float]:
        """Change a label of one workload; after how many ms each client has been told of it."""
        self._mark = f'"mark":"{number}"'.encode()
        self.waiting, self.told_at = self.count, []
        self.all_told.clear()
        definition = workload(0, 10)
        definition.labels["mark"] = str(number)
        started = time.monotonic()
        await client.apply(definition)
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.all_told.wait()
        return [(at - started) * 1000 for at in self.told_at]

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        seen = b""
        async for line in answer.content:
            if self._mark and self._mark in line and self._mark != seen:
                seen = self._mark
                self.told_at.append(time.monotonic())
                self.waiting -= 1
                if not self.waiting:
                    self.all_told.set()


async def _synced(answer: aiohttp.ClientResponse) -> None:
    async for line in answer.content:
        if b'"SYNC"' in line:
            return
