"""Load: what a crowd does to the control plane, and what is left of it afterwards.

Real etcd, three real controllers, and nodes that only the store takes for real. Four crowds, each
in a cluster of its own: the sessions of thousands of nodes that end at once, a thousand clients who
watch, applies at a steady rate, and applies while random faults go on. Of each process the memory
and the file descriptors are told at the start, at most, and in the end; and of each controller how
long its event loop has let others wait, which must stay under a fifth of the lease's TTL.

    python -m benchmarks.load [--quick] [--json PATH] [--only sessions|watchers|applies|faults]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.cluster import until
from benchmarks.large_cluster import LargeCluster, large_cluster
from benchmarks.load_faults import Faults
from benchmarks.load_watchers import Watchers
from benchmarks.process_samples import Samples
from benchmarks.report import Report, parse_options, percentile
from benchmarks.scheduling_cluster import apply_all, workload
from benchmarks.simulated_agents import lease_of
from orchestrator.cli.errors import Refused, ServerUnreachable
from orchestrator.controller.leader import LeaderSettings
from store.errors import LeaseNotFound
from store.etcd import EtcdStore

AIM_LAG = LeaderSettings().lease_ttl_seconds / 5
LONGEST_LAG = "orchestrator_event_loop_longest_lag_seconds "
REVOKING = 256
CROWDS = ("sessions", "watchers", "applies", "faults")


@dataclass(frozen=True, slots=True)
class Size:
    """`workloads` are there before a crowd comes, of `replicas` each; rates are per second."""

    nodes: int = 5_000
    workloads: int = 500
    replicas: int = 10
    watchers: int = 1_000
    changes: int = 100
    applies_a_second: float = 200.0
    applies_seconds: float = 600.0
    faults_seconds: float = 1_800.0
    faulty_nodes: int = 1_000
    faulty_applies_a_second: float = 20.0


QUICK = Size(
    nodes=500,
    workloads=200,
    replicas=5,
    watchers=100,
    changes=10,
    applies_seconds=20.0,
    faults_seconds=60.0,
    faulty_nodes=100,
)


async def measure_sessions(report: Report, size: Size) -> None:
    """All nodes are lost at once: the leader says so for every workload, and moves nothing."""
    async with large_cluster(size.nodes, start_seconds=0.0) as cluster:
        await fill(cluster, size)
        store = EtcdStore(cluster.etcd.endpoints)
        async with Samples.taken(cluster.processes) as samples:
            started = time.monotonic()
            await end_sessions(store, size.nodes)
            ended = time.monotonic()
            await until(lambda: nothing_runs(cluster))
            told = time.monotonic()
        await store.close()
        name = f"{size.nodes:,} sessions end"
        report.add(f"{name}: until all have ended", "s", [ended - started])
        report.add(f"{name}: until each of {size.workloads} workloads says so", "s", [told - ended])
        await tell_costs(report, name, cluster, samples)


async def end_sessions(store: EtcdStore, count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            with suppress(LeaseNotFound):
                await store.revoke_lease(lease_of(number))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(REVOKING):
            tasks.create_task(work())


async def nothing_runs(cluster: LargeCluster) -> bool | None:
    items = (await cluster.client.workloads()).items
    return True if not any(each.status.running for each in items) else None


async def measure_watchers(report: Report, size: Size) -> None:
    """All of them watch all workloads at one controller, and one workload changes."""
    async with large_cluster(size.faulty_nodes, start_seconds=0.0) as cluster:
        await fill(cluster, size)
        server = cluster.bench.layout.servers[0]
        async with Samples.taken(cluster.processes) as samples:
            async with Watchers.at(server, size.watchers) as watchers:
                latencies = [
                    latency
                    for number in range(size.changes)
                    for latency in await watchers.told_of(cluster.client, number)
                ]
            await asyncio.sleep(2.0)
        name = f"{size.watchers:,} clients watch {size.workloads} workloads"
        for percent in (50, 99, 100):
            report.add(
                f"{name}: a change has reached each, p{percent}",
                "ms",
                latencies,
                value=percentile(latencies, percent),
            )
        await tell_costs(report, name, cluster, samples)


async def measure_applies(report: Report, size: Size) -> None:
    async with large_cluster(size.faulty_nodes, start_seconds=0.5) as cluster:
        await fill(cluster, size)
        async with Samples.taken(cluster.processes) as samples:
            applies = Applies(cluster, size.workloads, size.replicas)
            await applies.go_on(size.applies_a_second, size.applies_seconds)
            settled = await timed(applies.settled)
        name = f"{size.applies_a_second:g} applies/s for {size.applies_seconds:g} s"
        applies.tell(report, name)
        report.add(f"{name}: until all is as applied", "s", [settled])
        await tell_costs(report, name, cluster, samples)


async def measure_faults(report: Report, size: Size) -> None:
    async with large_cluster(size.faulty_nodes, members=3, start_seconds=0.5) as cluster:
        await fill(cluster, size)
        applies = Applies(cluster, size.workloads, size.replicas)
        faults = Faults(cluster, random.Random(1))
        async with Samples.taken(cluster.processes) as samples:
            async with asyncio.TaskGroup() as tasks:
                going_wrong = tasks.create_task(faults.go_on())
                await applies.go_on(size.faulty_applies_a_second, size.faults_seconds)
                going_wrong.cancel()
            settled = await timed(applies.settled)
        name = f"faults for {size.faults_seconds:g} s"
        report.add(f"{name}: injected", "", [float(faults.count)])
        applies.tell(report, name)
        report.add(f"{name}: until all is as applied", "s", [settled])
        await tell_costs(report, name, cluster, samples, has_deaths=True)


class Applies:
    """A steady stream of changes of replicas, each begun at its time whatever became of others."""

    def __init__(self, cluster: LargeCluster, workloads: int, replicas: int) -> None:
        self._cluster = cluster
        self._wanted = dict.fromkeys(range(workloads), replicas)
        self._replicas = replicas
        self._busy: set[int] = set()
        self._latencies: list[float] = []
        self._refused = self._late = 0

    async def go_on(self, rate: float, seconds: float) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                tasks.create_task(self._apply(number % len(self._wanted)))

    async def _apply(self, number: int) -> None:
        """Not while an earlier one of the same workload is under way."""
        if number in self._busy:
            self._late += 1
            return
        self._busy.add(number)
        replicas = self._replicas + (self._wanted[number] == self._replicas)
        started = time.monotonic()
        try:
            await self._cluster.client.apply(workload(number, replicas))
            self._wanted[number] = replicas
            self._latencies.append((time.monotonic() - started) * 1000)
        except (Refused, ServerUnreachable):
            self._refused += 1
        finally:
            self._busy.discard(number)

    async def settled(self) -> bool | None:
        items = (await self._cluster.client.workloads()).items
        is_so = all(each.status.running == each.status.desired for each in items)
        return True if items and is_so else None

    def tell(self, report: Report, name: str) -> None:
        for percent in (50, 99, 100):
            report.add(
                f"{name}: answered, p{percent}",
                "ms",
                self._latencies,
                value=percentile(self._latencies, percent),
            )
        report.add(f"{name}: refused", "", [self._refused])
        report.add(f"{name}: left out, the one before not answered yet", "", [self._late])


async def fill(cluster: LargeCluster, size: Size) -> None:
    await apply_all(cluster, [workload(n, size.replicas) for n in range(size.workloads)])
    total = size.workloads * size.replicas
    await cluster.agents.first(lambda seen: seen.running >= total, 300.0)


async def timed(found: Callable[[], Awaitable[bool | None]]) -> float:
    started = time.monotonic()
    await until(found)
    return time.monotonic() - started


async def tell_costs(
    report: Report, name: str, cluster: LargeCluster, samples: Samples, *, has_deaths: bool = False
) -> None:
    await cluster.bench.ready()
    samples.tell(report, name)
    for controller in cluster.bench.children:
        lag = await cluster.metric(controller, LONGEST_LAG)
        since = " since its last start" if has_deaths else ""
        row = f"{name}: {controller}: longest lag of its loop{since}"
        report.add(row, "s", [lag], aim=f"under {AIM_LAG:g}")


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", choices=CROWDS, action="append")
    given, rest = parser.parse_known_args()
    options = parse_options(__doc__, rest)
    size = QUICK if options.quick else Size()
    report = Report("Load")
    measures = (measure_sessions, measure_watchers, measure_applies, measure_faults)
    for crowd, measure in zip(CROWDS, measures, strict=True):
        if crowd in (given.only or CROWDS):
            print(crowd, file=sys.stderr, flush=True)
            asyncio.run(measure(report, size))
    report.publish(options)


if __name__ == "__main__":
    main()
