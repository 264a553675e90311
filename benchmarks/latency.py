"""From `orc apply` to the process running: one replica, one at a time.

The process itself tells when it runs, by a byte into a named pipe; so the figure covers the API,
the commit, the leader's plan, its commit, the agent, the supervisor and the start of a shell.
`orc apply` is measured twice: from its request on, beside the same process started by hand; and
from its own start, beside a Python that only imports the libraries which it needs.

    python -m benchmarks.latency [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.cluster import BenchCluster, bench_cluster, until
from benchmarks.report import Report, parse_options, percentile
from orchestrator.local.programs import own_environment
from orchestrator.model.manifest import to_manifest
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition, WorkloadKey

AIM = "p99 under 100 ms"

IMPORTS = "aiohttp, click, pydantic, yaml"
"""Of the libraries that `orc apply` needs."""


class Signal:
    """A named pipe, and when the next byte came through it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "runs"
        os.mkfifo(self.path)
        self._end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    async def heard(self) -> float:
        heard = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._end, self._read, heard)
        async with asyncio.timeout(30):
            return float(await heard)

    def _read(self, heard: asyncio.Future[float]) -> None:
        now = time.perf_counter()
        os.read(self._end, 100)
        asyncio.get_running_loop().remove_reader(self._end)
        heard.set_result(now)

    def command(self) -> tuple[str, ...]:
        return ("sh", "-c", f"echo > {self.path}; exec sleep 1000")


async def main() -> None:
    options = parse_options(__doc__)
    runs, commands = (30, 12) if options.quick else (200, 200)
    report = Report("Latency: from apply to the process running, one replica")
    with tempfile.TemporaryDirectory(prefix="orc-bench-") as directory:
        signal = Signal(Path(directory))
        async with bench_cluster() as cluster:
            await cluster.leader()
            bare = [await time_bare(signal) for _ in range(runs)]
            by_client = [
                await time_apply(cluster, signal, n, by_client_of(cluster)) for n in range(runs)
            ]
            by_command = [
                await time_apply(cluster, signal, n, by_command_of(cluster, Path(directory)))
                for n in range(runs, runs + commands)
            ]
            imports = [await time_imports() for _ in range(commands)]
    report.add("bare start of the process, p50", "ms", bare)
    report.add("bare start of Python with what `orc` imports, p50", "ms", imports)
    for name, samples, floors in (
        ("request of `orc apply` to running", by_client, bare),
        ("start of `orc apply` to running", by_command, imports),
    ):
        floor = statistics.median(floors)
        p99 = percentile(samples, 99)
        report.add(f"{name}, p50", "ms", samples, floor=floor)
        report.add(f"{name}, p99", "ms", samples, value=p99, floor=floor, aim=AIM)
    report.publish(options)


async def time_bare(signal: Signal) -> float:
    started = time.perf_counter()
    heard = asyncio.create_task(signal.heard())
    process = await asyncio.create_subprocess_exec(*signal.command())
    milliseconds = (await heard - started) * 1000
    process.kill()
    await process.wait()
    return milliseconds


async def time_imports() -> float:
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", f"import {IMPORTS}")
    await process.wait()
    return (time.perf_counter() - started) * 1000


Apply = Callable[[WorkloadDefinition], Awaitable[object]]


async def time_apply(cluster: BenchCluster, signal: Signal, number: int, apply: Apply) -> float:
    container = ContainerConfig("app", command=signal.command())
    definition = WorkloadDefinition(f"bench-{number}", (container,), stop_grace_seconds=0.0)
    heard = asyncio.create_task(signal.heard())
    started = time.perf_counter()
    await apply(definition)
    milliseconds = (await heard - started) * 1000
    await delete(cluster, definition.key)
    return milliseconds


def by_client_of(cluster: BenchCluster) -> Apply:
    return cluster.client.apply


def by_command_of(cluster: BenchCluster, directory: Path) -> Apply:
    environment = own_environment()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles our modules anew

    async def apply(definition: WorkloadDefinition) -> None:
        path = directory / "manifest.yaml"
        path.write_text(to_manifest(definition))
        server = cluster.layout.servers[0]
        command = ("-m", "orchestrator.entry.main", "--server", server, "apply", "-f", str(path))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0

    return apply


async def delete(cluster: BenchCluster, key: WorkloadKey) -> None:
    """And wait until nothing of it is left, so that one run does not disturb the next."""
    await cluster.client.delete_workload(key)

    async def gone() -> bool | None:
        left = (await cluster.client.instances(workload=key.name)).items
        return None if left else True

    await until(gone)


if __name__ == "__main__":
    asyncio.run(main())
