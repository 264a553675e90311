"""What a cluster costs while nothing happens: CPU and memory of each process.

Three controllers, three agents and 100 instances at rest. CPU is what the process used of one
core over the time watched, supervisors' apart; memory is RSS at the end of it. The floor is a
Python process that has imported what ours import, and sleeps.

    python -m benchmarks.idle [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections import defaultdict

import psutil

from benchmarks.cluster import BenchCluster, bench_cluster
from benchmarks.report import Report, parse_options
from orchestrator.local.programs import own_environment
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition

INSTANCES = 100
AIMS = {
    ("controller", "CPU"): "at most 2",
    ("controller", "RSS"): "at most 150",
    ("agent", "RSS"): "at most 80",
}
BARE = "import time, orchestrator.entry.{role}; print(flush=True); time.sleep(1000)"


async def main() -> None:
    options = parse_options(__doc__)
    watched_seconds, runs = (5.0, 3) if options.quick else (20.0, 5)
    report = Report(f"Idle cost: 3 controllers, 3 agents, {INSTANCES} instances")
    async with bench_cluster() as cluster:
        await rest(cluster)
        used: dict[str, list[float]] = defaultdict(list)
        held: dict[str, list[float]] = defaultdict(list)
        for _ in range(runs):
            before = cpu_seconds(cluster)
            await asyncio.sleep(watched_seconds)
            for role, seconds in cpu_seconds(cluster).items():
                pairs = zip(seconds, before[role], strict=True)
                used[role] += [(now - then) * 100 / watched_seconds for now, then in pairs]
            for role, megabytes in memory_mb(cluster).items():
                held[role] += megabytes
    for role, spent in used.items():
        floor = bare_mb(role) if role != "etcd" else None
        report.add(f"{role}: CPU", "% of a core", spent, aim=AIMS.get((role, "CPU"), ""))
        report.add(f"{role}: RSS", "MB", held[role], floor=floor, aim=AIMS.get((role, "RSS"), ""))
    report.publish(options)


async def rest(cluster: BenchCluster) -> None:
    container = ContainerConfig("app", command=("sleep", "100000"))
    definition = WorkloadDefinition(
        "idle", (container,), replicas=INSTANCES, stop_grace_seconds=0.0
    )
    await cluster.client.apply(definition)
    await cluster.running("idle", INSTANCES)
    await asyncio.sleep(5)


def cpu_seconds(cluster: BenchCluster) -> dict[str, list[float]]:
    """User and system time so far, by role, in the order of the processes."""
    return {
        role: [sum(process.cpu_times()[:2]) for process in processes]
        for role, processes in by_role(cluster).items()
    }


def memory_mb(cluster: BenchCluster) -> dict[str, list[float]]:
    return {
        role: [process.memory_info().rss / 1e6 for process in processes]
        for role, processes in by_role(cluster).items()
    }


def by_role(cluster: BenchCluster) -> dict[str, list[psutil.Process]]:
    processes: dict[str, list[psutil.Process]] = defaultdict(list)
    for child in cluster.children.values():
        assert child.pid, f"{child.program.title} has ended"
        processes[child.program.role].append(psutil.Process(child.pid))
    return processes


def bare_mb(role: str) -> float:
    samples = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", BARE.format(role=role)],
            stdout=subprocess.PIPE,
            env=own_environment(),
        )
        assert process.stdout
        process.stdout.readline()
        samples.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        process.kill()
        process.communicate()
    return statistics.median(samples)


if __name__ == "__main__":
    asyncio.run(main())
