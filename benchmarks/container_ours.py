"""Our cluster with one node that runs images: one etcd, three controllers, one agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.cluster import BenchCluster, bench_cluster
from benchmarks.container_host import CGROUP, COMMAND, OUR_RUN
from orchestrator.model.answers import WatchType
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.views import WorkloadInstance
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from tests.support.images import build
from tests.support.registry import serving_registry

DEADLINE_SECONDS = 300.0
SAMPLES_OF_MEMORY = 5


@dataclass(frozen=True, slots=True)
class Ours:
    """The API's own watch tells what runs: asking again and again would cost it time."""

    cluster: BenchCluster
    image: str

    async def start(self, name: str, replicas: int) -> float:
        """Milliseconds until all run. They end at once when told to."""
        container = ContainerConfig("app", self.image, command=COMMAND)
        workload = WorkloadDefinition(name, (container,), replicas=replicas, stop_grace_seconds=0.0)
        seen = asyncio.create_task(self._until(name, replicas))
        await asyncio.sleep(0)
        started = time.perf_counter()
        await self.cluster.client.apply(workload)
        return (await seen - started) * 1000

    async def to_zero(self, name: str) -> float:
        """Milliseconds until no instance is left; then the workload is deleted."""
        [workload] = [
            each for each in (await self.cluster.client.workloads()).items if each.name == name
        ]
        assert workload.spec is not None
        seen = asyncio.create_task(self._until(name, 0))
        await asyncio.sleep(0)
        started = time.perf_counter()
        await self.cluster.client.scale(workload.spec.key, 0)
        milliseconds = (await seen - started) * 1000
        await self.cluster.client.delete_workload(workload.spec.key)
        return milliseconds

    async def memory_mb(self, containers: int) -> tuple[list[float], list[float]]:
        """What the agent has, of memory, while so many rest: all (RSS), and what nobody shares with
        it (USS). The rest is pages of program files, which whoever else runs Python has too."""
        await self.start("resting", containers)
        pid = self.cluster.children["n1"].pid
        assert pid
        resident, own = [], []
        for _ in range(SAMPLES_OF_MEMORY):
            await asyncio.sleep(1)
            memory = psutil.Process(pid).memory_full_info()
            resident.append(memory.rss / 1e6)
            own.append(memory.uss / 1e6)
        await self.to_zero("resting")
        return resident, own

    async def _until(self, workload: str, count: int) -> float:
        """When exactly so many instances of it are there, and all of them run."""
        there: dict[str, bool] = {}
        is_listed = False
        async with asyncio.timeout(DEADLINE_SECONDS):
            async with aclosing(self.cluster.client.watch(WorkloadInstance)) as events:
                async for event in events:
                    if event.type is WatchType.SYNC:
                        is_listed = True
                    elif event.type is WatchType.DELETED:
                        there.pop(event.identity.name, None)
                    elif event.object is not None and event.object.workload == workload:
                        runs = event.object.status is WorkloadInstanceStatus.RUNNING
                        there[event.object.name] = runs
                    has_begun = is_listed and (there or not count)
                    if has_begun and len(there) == count and all(there.values()):
                        return time.perf_counter()
        raise AssertionError("a watch has no end")


@asynccontextmanager
async def our_cluster(directory: Path) -> AsyncIterator[Ours]:
    with serving_registry(directory / "registry") as registry:
        image = registry.push(build(directory / "layout", "app"), "bench/busybox:1")
        flags = (
            "--oci-runtime=crun",
            f"--run-dir={directory / OUR_RUN}",
            f"--cgroup-parent=/{CGROUP}",
            "--bridge=bench1",
            "--pod-cidr=10.119.0.0/20",
            f"--registries-conf={registry.conf}",
        )
        async with bench_cluster(agents=1, agent_flags=flags) as cluster:
            await cluster.leader()
            yield Ours(cluster, image)
