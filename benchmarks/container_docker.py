"""A Docker engine of one's own, and a swarm of it alone: in the network that the caller is in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.container_host import CGROUP, COMMAND, DOCKER_RUN, RootFs, ran

IMAGE = "bench/busybox:1"
LOOK_SECONDS = 0.02
START_SECONDS = 60.0
DEADLINE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Docker:
    """`engine` speaks to its API, so that looking costs it little."""

    host: str
    engine: aiohttp.ClientSession

    async def call(self, *arguments: str) -> str:
        return await ran("docker", "--host", self.host, *arguments)

    async def run(self, name: str) -> None:
        await self.call("run", "--detach", "--name", name, IMAGE, *COMMAND)

    async def end(self, name: str) -> None:
        await self.call("rm", "--force", name)

    async def begin_swarm(self) -> None:
        await self.call("swarm", "init", "--advertise-addr", "127.0.0.1")

    async def start(self, name: str, replicas: int) -> float:
        """Milliseconds until all its tasks run. They end at once when told to."""
        started = time.perf_counter()
        flags = ("--detach", "--no-resolve-image", "--stop-signal", "KILL", "--name", name)
        await self.call("service", "create", *flags, "--replicas", str(replicas), IMAGE, *COMMAND)

        async def all_run() -> bool:
            return await self._running_tasks(name) == replicas

        await _until(all_run)
        return (time.perf_counter() - started) * 1000

    async def to_zero(self, name: str) -> float:
        """Milliseconds until none of its containers is left; then the service is removed."""
        started = time.perf_counter()
        await self.call("service", "scale", "--detach", f"{name}=0")
        await _until(self._is_empty)
        milliseconds = (time.perf_counter() - started) * 1000
        await self.call("service", "rm", name)
        return milliseconds

    async def _running_tasks(self, service: str) -> int:
        filters = json.dumps({"service": [service], "desired-state": ["running"]})
        async with self.engine.get("/tasks", params={"filters": filters}) as answer:
            tasks = await answer.json()
        return sum(each["Status"]["State"] == "running" for each in tasks)

    async def _is_empty(self) -> bool:
        async with self.engine.get("/containers/json") as answer:
            return not await answer.json()


@asynccontextmanager
async def docker_engine(directory: Path, rootfs: RootFs) -> AsyncIterator[Docker]:
    """With the image. It is ended with its containers."""
    socket = directory / "docker.sock"
    command = [
        *("dockerd", "--host", f"unix://{socket}", "--data-root", str(directory / "docker")),
        *("--exec-root", str(directory / DOCKER_RUN), "--pidfile", str(directory / "docker.pid")),
        *("--cgroup-parent", f"/{CGROUP}"),
    ]
    with (directory / "dockerd.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    connector = aiohttp.UnixConnector(str(socket))
    try:
        async with aiohttp.ClientSession("http://docker", connector=connector) as engine:
            docker = Docker(f"unix://{socket}", engine)
            await _until_it_answers(docker, process)
            await docker.call("import", str(rootfs.archive), IMAGE)
            yield docker
            await _end_all(docker)
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(docker: Docker, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.returncode is None, "dockerd has ended: no Docker engine can run here"
            try:
                async with docker.engine.get("/_ping") as answer:
                    answer.raise_for_status()
                    return
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.1)


async def _end_all(docker: Docker) -> None:
    """Some may be on their way out already; that they are refused does not matter."""

    async def none_left() -> bool:
        async with docker.engine.get("/containers/json", params={"all": "true"}) as answer:
            left = [each["Id"] for each in await answer.json()]
        for each in left:
            (await docker.engine.delete(f"/containers/{each}", params={"force": "true"})).release()
        return not left

    await _until(none_left)


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if await done():
                return
            await asyncio.sleep(LOOK_SECONDS)
