"""From the end of the leader to the first committed write of the next one.

There is always something to be written: a scale is asked for at the moment of the fault. The
end is the first event in etcd whose value carries the next epoch, seen by a watch of our own.
The floor is a bare lease of the same TTL: from the last moment at which it was renewed until
etcd deletes its key, which is all that a frozen leader leaves to be noticed. With etcd's own leader
killed, its successor gives every lease its whole TTL again.

    python -m benchmarks.failover [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from benchmarks.cluster import BenchCluster, bench_cluster, until
from benchmarks.report import Report, parse_options, percentile
from orchestrator.cli.client import ApiClient
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from store.errors import OutcomeUnknown, Unavailable
from store.etcd import EtcdStore
from store.protocol import Watch
from store.stamps import stamp_of
from store.values import PutOp, RangeOp, Txn, WatchResponse, prefix_end

TTL_SECONDS = 5
LEASES = "/bench/"
KEYS = Keys()
LEADERS_KEYS = (KEYS.folder(Kind.ASSIGNMENT), KEYS.folder(Kind.WORKLOAD_STATUS))
WORKLOAD = WorkloadDefinition(
    "bench", (ContainerConfig("app", command=("sleep", "100000")),), stop_grace_seconds=0.0
)
WATCH_AGAIN_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Fault:
    """What the leader is sent, and at the same moment etcd's leader, if anything."""

    to_leader: Signals
    to_etcd: Signals | None = None


KILL, STOP, FREEZE = Fault(SIGKILL), Fault(SIGTERM), Fault(SIGSTOP)
KILL_BOTH, FREEZE_AND_KILL = Fault(SIGKILL, SIGKILL), Fault(SIGSTOP, SIGKILL)


async def main() -> None:
    options = parse_options(__doc__)
    kills, stops, freezes, both = (4, 4, 1, 1) if options.quick else (50, 50, 10, 5)
    report = Report(f"Fail-over of the leader, lease TTL {TTL_SECONDS} s")
    async with bench_cluster() as cluster:
        leases = await time_leases(cluster, max(2, freezes // 2))
        killed = await time_failovers(cluster, KILL, kills)
        stopped = await time_failovers(cluster, STOP, stops)
        frozen = await time_failovers(cluster, FREEZE, freezes)
    async with bench_cluster(etcd_members=3) as cluster:
        both_killed = await time_failovers(cluster, KILL_BOTH, both)
        frozen_and_killed = await time_failovers(cluster, FREEZE_AND_KILL, both)
    floor = statistics.median(leases)
    report.add("bare lease: last renewal to deletion", "ms", leases)
    add_percentiles(report, "kill -9 to first write", killed, "at most 300", floor)
    add_percentiles(report, "graceful stop to first write", stopped, "at most 100")
    add_longest(report, "frozen to first write", frozen, TTL_SECONDS + 0.5, floor)
    limit_seconds = 2 * TTL_SECONDS + 3
    add_longest(report, "kill -9 of both leaders, etcd's too", both_killed, limit_seconds)
    add_longest(report, "frozen, and kill -9 of etcd's leader", frozen_and_killed, limit_seconds)
    report.publish(options)


def add_percentiles(
    report: Report, name: str, samples: Sequence[float], aim: str, floor: float | None = None
) -> None:
    report.add(f"{name}, p50", "ms", samples, floor=floor)
    p99 = percentile(samples, 99)
    report.add(f"{name}, p99", "ms", samples, value=p99, floor=floor, aim=aim)


def add_longest(
    report: Report,
    name: str,
    samples: Sequence[float],
    limit_seconds: float,
    floor: float | None = None,
) -> None:
    aim = f"at most {limit_seconds * 1000:g}"
    report.add(f"{name}, longest", "ms", samples, value=max(samples), floor=floor, aim=aim)


async def time_leases(cluster: BenchCluster, count: int) -> list[float]:
    store = EtcdStore([cluster.endpoint])
    try:
        return [await time_lease(store, number) for number in range(count)]
    finally:
        await store.close()


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


async def time_failovers(cluster: BenchCluster, fault: Fault, runs: int) -> list[float]:
    await cluster.client.apply(WORKLOAD)
    await cluster.running(WORKLOAD.name, WORKLOAD.replicas)
    return [await time_failover(cluster, fault) for _ in range(runs)]


async def time_failover(cluster: BenchCluster, fault: Fault) -> float:
    """Milliseconds; afterwards all processes are up again and the workload is at rest."""
    leader = await cluster.leader()
    victims = {leader: fault.to_leader}
    if fault.to_etcd:
        victims[await etcd_leader(cluster)] = fault.to_etcd
    pids = {name: cluster.children[name].pid or 0 for name in victims}
    replicas = 3 - (await cluster.client.workload(WORKLOAD.key)).status.desired
    async with AsyncExitStack() as stack:
        standby = await stack.enter_async_context(ApiClient(others(cluster, leader)))
        store = EtcdStore(others_of_etcd(cluster, victims))
        stack.push_async_callback(store.close)
        found = await store.range(RangeOp(KEYS.leader))
        epoch, revision = found.kvs[0].create_revision, found.header.revision
        watch = all_after(store, revision)
        await anext(aiter(watch))  # one that begins in the past is served every 100 ms only
        started = time.perf_counter()
        for name, number in victims.items():
            cluster.children[name].send(number)
        asking = asyncio.create_task(until(lambda: standby.scale(WORKLOAD.key, replicas)))
        await first_write_after(store, epoch, revision, watch)
        milliseconds = (time.perf_counter() - started) * 1000
        await asking
    for name, number in victims.items():
        await recover(cluster, name, number, pids[name])
    await cluster.ready()
    await cluster.running(WORKLOAD.name, replicas)
    return milliseconds


def others(cluster: BenchCluster, leader: str) -> list[str]:
    programs = zip(cluster.layout.servers, cluster.layout.controllers(), strict=True)
    return [server for server, program in programs if program.name != leader]


def others_of_etcd(cluster: BenchCluster, victims: dict[str, Signals]) -> list[str]:
    members = zip(cluster.layout.etcd_endpoints, cluster.layout.etcd_members(), strict=True)
    return [endpoint for endpoint, program in members if program.name not in victims]


async def etcd_leader(cluster: BenchCluster) -> str:
    store = EtcdStore(list(cluster.layout.etcd_endpoints))
    try:
        members = await store.members()
    finally:
        await store.close()
    (leading,) = (each for each in members if each.leader_id == each.header.member_id)
    programs = cluster.layout.etcd_members()
    return next(each.name for each in programs if leading.endpoint.endswith(f":{each.port}"))


async def recover(cluster: BenchCluster, name: str, number: Signals, pid: int) -> None:
    """A frozen leader that wakes finds itself deposed, and ends. What was killed, or has ended so,
    is started again as by systemd."""
    if number is SIGTERM:
        await cluster.ended(name)
        await cluster.restart(name)
        return
    if number is SIGSTOP:
        cluster.children[name].send(SIGCONT)
    await cluster.replaced(name, pid)


def all_after(store: EtcdStore, revision: int) -> Watch:
    return store.watch(KEYS.root, range_end=prefix_end(KEYS.root), start_revision=revision + 1)


async def first_write_after(store: EtcdStore, old_epoch: int, revision: int, watch: Watch) -> None:
    """By a leader after that of `old_epoch`, which led at `revision`. Closes the watch."""
    while not await comes_by(watch, old_epoch):
        await watch.close()
        await asyncio.sleep(WATCH_AGAIN_SECONDS)
        watch = all_after(store, revision)
    await watch.close()


async def comes_by(watch: Watch, old_epoch: int) -> bool:
    """False if the watch breaks before: a member without a leader ends its watches."""
    with suppress(Unavailable, OutcomeUnknown):
        async for response in watch:
            if is_written(response, old_epoch):
                return True
    return False


def is_written(response: WatchResponse, old_epoch: int) -> bool:
    return any(
        stamp_of(event.kv.value).get("epoch") not in (None, old_epoch)
        for event in response.events
        if event.kv.key.startswith(LEADERS_KEYS)
    )


if __name__ == "__main__":
    asyncio.run(main())
