"""From the end of the leader to the first committed write of the next one.

There is always something to be written: a scale is asked for at the moment of the kill. The
end is the first event in etcd whose value carries the next epoch, seen by a watch of our own.
The floor is a bare lease of the same TTL: from the last moment at which it was renewed until
etcd deletes its key, which is all that a kill -9 leaves to be noticed.

    python -m benchmarks.failover [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable

from benchmarks.cluster import BenchCluster, bench_cluster
from benchmarks.report import Report, parse_options, percentile
from orchestrator.cli.client import ApiClient
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from store.etcd import EtcdStore
from store.stamps import stamp_of
from store.values import PutOp, RangeOp, Txn, WatchResponse, prefix_end

TTL_SECONDS = 5
LEASES = "/bench/"
KEYS = Keys()
LEADERS_KEYS = (KEYS.folder(Kind.ASSIGNMENT), KEYS.folder(Kind.WORKLOAD_STATUS))
WORKLOAD = WorkloadDefinition(
    "bench", (ContainerConfig("app", command=("sleep", "100000")),), stop_grace_seconds=0.0
)


async def main() -> None:
    options = parse_options(__doc__)
    kills, stops = (4, 6) if options.quick else (30, 30)
    report = Report(f"Fail-over of the leader, lease TTL {TTL_SECONDS} s")
    async with bench_cluster() as cluster:
        store = EtcdStore([cluster.endpoint])
        await cluster.client.apply(WORKLOAD)
        await cluster.running(WORKLOAD.name, WORKLOAD.replicas)
        leases = [await time_lease(store, number) for number in range(max(3, kills // 6))]
        killed = [await time_failover(cluster, store, kill) for _ in range(kills)]
        stopped = [await time_failover(cluster, store, stop) for _ in range(stops)]
        await store.close()
    floor = statistics.median(leases)
    report.add("bare lease: last renewal to deletion", "ms", leases)
    report.add("kill -9 to first write, p50", "ms", killed, floor=floor)
    report.add(
        "kill -9 to first write, p99",
        "ms",
        killed,
        value=percentile(killed, 99),
        floor=floor,
        aim=f"at most {TTL_SECONDS * 1000 + 500}",
    )
    report.add("graceful stop to first write, p50", "ms", stopped)
    report.add(
        "graceful stop to first write, p99",
        "ms",
        stopped,
        value=percentile(stopped, 99),
        aim="at most 100",
    )
    report.publish(options)


async def time_lease(store: EtcdStore, number: int) -> float:
    key, lease = f"{LEASES}{number}", random.randrange(1, 2**63)
    watch = store.watch(key)
    responses = aiter(watch)
    await anext(responses)
    started = time.perf_counter()
    await store.grant_lease(lease, TTL_SECONDS)
    await store.txn(Txn(success=(PutOp(key, b"{}", lease),)))
    async for response in responses:
        if any(event.is_delete for event in response.events):
            break
    await watch.close()
    return (time.perf_counter() - started) * 1000


End = Callable[[BenchCluster, str], None]


def kill(cluster: BenchCluster, leader: str) -> None:
    cluster.kill(leader)


def stop(cluster: BenchCluster, leader: str) -> None:
    cluster.children[leader].send(signal.SIGTERM)


async def time_failover(cluster: BenchCluster, store: EtcdStore, end: End) -> float:
    """Milliseconds; afterwards all replicas are up again and the workload is at rest."""
    leader = await cluster.leader()
    old_epoch = (await store.range(RangeOp(KEYS.leader))).kvs[0].create_revision
    others = [
        server
        for server, program in zip(
            cluster.layout.servers, cluster.layout.controllers(), strict=True
        )
        if program.name != leader
    ]
    watch = store.watch(KEYS.root, range_end=prefix_end(KEYS.root))
    responses = aiter(watch)
    await anext(responses)
    replicas = 3 - (await cluster.client.workload(WORKLOAD.key)).status.desired
    async with ApiClient(others) as standby:
        started = time.perf_counter()
        end(cluster, leader)
        await standby.scale(WORKLOAD.key, replicas)
        await first_write_after(responses, old_epoch)
    milliseconds = (time.perf_counter() - started) * 1000
    await watch.close()
    if end is stop:
        await cluster.ended(leader)
        await cluster.restart(leader)
    await cluster.ready()
    await cluster.running(WORKLOAD.name, replicas)
    return milliseconds


async def first_write_after(responses: AsyncIterator[WatchResponse], old_epoch: int) -> None:
    async for response in responses:
        for event in response.events:
            is_leaders = event.kv.key.startswith(LEADERS_KEYS)
            epoch = stamp_of(event.kv.value).get("epoch") if is_leaders else None
            if epoch not in (None, old_epoch):
                return


if __name__ == "__main__":
    asyncio.run(main())
