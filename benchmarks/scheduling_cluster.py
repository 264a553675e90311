"""The durable pipeline end to end: from one apply to all instances committed, and all running.

Real etcd that syncs to disk, three real controllers, and nodes that only the store takes for real:
what would run on them takes its time to start (--start-seconds), and then says that it runs. The
floor is bare grpc on the same etcd, in the same run: transactions of 128 puts of values as long as
ours, without guards, by however many in flight are best. All of it shares this machine, and so CPU
time is told as well: of everything, for each instance, beside that of the floor for each key.

    python -m benchmarks.scheduling_cluster [--quick] [--json PATH] [--nodes N] [--workloads N] ...
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import psutil

from benchmarks.etcd_floor import floor_keys_per_second
from benchmarks.large_cluster import LargeCluster, large_cluster
from benchmarks.report import Report, Row, parse_options, percentile
from benchmarks.simulated_agents import lease_of, node_name
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from store.etcd import EtcdStore
from store.transactions import MAX_OPS
from store.values import RangeOp, prefix_end

KEYS = Keys()
ASSIGNMENTS = KEYS.folder(Kind.ASSIGNMENT)
VALUE_BYTES = 268
"""Of an assignment with its stamp."""

FLOOR_TRANSACTIONS = 400
LIMIT_SECONDS = 1_800.0
CONNECTIONS = 16
PEERS = "kube-scheduler: 117 to 162"


@dataclass(frozen=True, slots=True)
class Size:
    """`singles`: workloads of one replica that are added to the full cluster one by one."""

    nodes: int = 5_000
    workloads: int = 1_500
    replicas: int = 100
    members: int = 1
    start_seconds: float = 5.0
    singles: int = 200
    lost_nodes: int = 100

    @property
    def instances(self) -> int:
        return self.workloads * self.replicas


QUICK = Size(nodes=500, workloads=100, singles=30, lost_nodes=10)


def workload(number: int, replicas: int, name: str = "bench") -> WorkloadDefinition:
    requests = NodeResources(cpu_cores=0.1, memory_mb=128)
    container = ContainerConfig("app", command=("serve",), resource_requests=requests)
    return WorkloadDefinition(
        f"{name}-{number}", (container,), replicas=replicas, lost_after_seconds=0.0
    )


async def measure(size: Size) -> list[Row]:
    """All figures of one cluster of that size, from empty to full."""
    report = Report("")
    async with large_cluster(
        size.nodes, members=size.members, start_seconds=size.start_seconds
    ) as cluster:
        leader = await cluster.bench.leader()
        store = EtcdStore(cluster.etcd.endpoints)
        floor = await measure_floor(report, cluster)
        await measure_fill(report, cluster, size, floor)
        await at_rest(store)
        if size.singles:
            await measure_singles(report, cluster, store, size.singles)
        if size.lost_nodes:
            await at_rest(store)
            await measure_loss(report, cluster, store, size)
        assert leader == await cluster.bench.leader(), "the leader has lost its lease"
        gap = await cluster.longest_renewal_gap_seconds(leader)
        report.add("leader: longest gap between renewals", "s", [gap], aim="trusted for 3.33")
        await store.close()
    return report.rows


async def measure_floor(report: Report, cluster: LargeCluster) -> float:
    """Keys a second."""
    before = floor_cpu_seconds(cluster)
    rates = await floor_keys_per_second(cluster.etcd.endpoints[0], VALUE_BYTES, FLOOR_TRANSACTIONS)
    for in_flight, rate in rates.items():
        report.add(f"etcd's floor, {in_flight} in flight", "keys/s", [rate])
    keys = len(rates) * FLOOR_TRANSACTIONS * MAX_OPS
    cpu = (floor_cpu_seconds(cluster) - before) * 1e6 / keys
    report.add("etcd's floor: CPU of etcd and its client", "us/key", [cpu])
    return max(rates.values())


def floor_cpu_seconds(cluster: LargeCluster) -> float:
    """Of the etcd members and of ourselves, who are their client."""
    ours = sum(psutil.Process().cpu_times()[:2])
    members = (cpu for name, cpu in cluster.cpu_seconds().items() if name.startswith("m"))
    return sum(members, ours)


async def measure_fill(report: Report, cluster: LargeCluster, size: Size, floor: float) -> None:
    before, cpu, memory = cluster.agents.told[-1], cluster.cpu_seconds(), cluster.memory_mb()
    target = before.assigned + size.instances
    name = f"{size.instances:,} instances on {size.nodes:,} nodes"
    started = time.monotonic()
    await apply_all(cluster, [workload(n, size.replicas) for n in range(size.workloads)])
    report.add(f"{name}: all accepted", "s", [time.monotonic() - started])
    assigned = await cluster.agents.first(lambda seen: seen.assigned >= target, LIMIT_SECONDS)
    to_commit = spent(cluster, cpu)
    running = await cluster.agents.first(lambda seen: seen.running >= target, LIMIT_SECONDS)
    to_run = spent(cluster, cpu)
    seconds = assigned.at - started
    aim = f"at least {30 if size.members > 1 else 40} %; {PEERS}"
    report.add(f"{name}: all committed", "s", [seconds])
    rate = size.instances / seconds
    report.add(f"{name}: committed", "1/s", [rate], floor=floor, aim=aim)
    each = sum(to_commit.values()) * 1e6 / size.instances
    report.add("CPU of all until committed", "us/instance", [each])
    report.add(f"{name}: all running", "s", [running.at - started])
    each = sum(to_run.values()) * 1e6 / size.instances
    report.add("CPU of all until running", "us/instance", [each])
    in_the_end = cluster.memory_mb()
    for process in cpu:
        report.add(f"{process}: CPU until committed", "s", [to_commit[process]])
        report.add(f"{process}: CPU until running", "s", [to_run[process]])
        more = (in_the_end[process] - memory[process]) * 1000 / size.instances
        report.add(f"{process}: RSS per instance", "kB", [more])
        report.add(f"{process}: RSS", "MB", [in_the_end[process]])


def spent(cluster: LargeCluster, before: Mapping[str, float]) -> dict[str, float]:
    return {name: now - before[name] for name, now in cluster.cpu_seconds().items()}


async def apply_all(cluster: LargeCluster, definitions: Iterable[WorkloadDefinition]) -> None:
    waiting = iter(definitions)

    async def work() -> None:
        for definition in waiting:
            await cluster.client.apply(definition)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(work())


async def at_rest(store: EtcdStore) -> None:
    """Wait until nobody has written anything for a second."""
    last = 0
    while (now := (await store.range(RangeOp(KEYS.leader))).header.revision) != last:
        last = now
        await asyncio.sleep(1.0)


async def measure_singles(
    report: Report, cluster: LargeCluster, store: EtcdStore, count: int
) -> None:
    """One new workload of one replica after the other in the full cluster."""
    watch = store.watch(ASSIGNMENTS, range_end=prefix_end(ASSIGNMENTS))
    responses = aiter(watch)
    await anext(responses)
    from_request, from_answer = [], []
    for number in range(count):
        definition = workload(number, 1, "single")
        started = time.perf_counter()
        await cluster.client.apply(definition)
        answered = time.perf_counter()
        async for response in responses:
            if any(f".{definition.name}." in event.kv.key for event in response.events):
                break
        committed = time.perf_counter()
        from_request.append((committed - started) * 1000)
        from_answer.append((committed - answered) * 1000)
        await asyncio.sleep(0.02)
    await watch.close()
    report.add("one more instance, from request to commit, p50", "ms", from_request)
    report.add(
        "one more instance, from request to commit, p99",
        "ms",
        from_request,
        value=percentile(from_request, 99),
    )
    report.add(
        "one more instance, from accept to commit, p99",
        "ms",
        from_answer,
        value=percentile(from_answer, 99),
        aim="under 50",
    )


async def measure_loss(report: Report, cluster: LargeCluster, store: EtcdStore, size: Size) -> None:
    """The sessions of some nodes end: from the last one's end to the last new assignment."""
    lost = set(map(node_name, range(size.lost_nodes)))
    watch = store.watch(KEYS.root, range_end=prefix_end(KEYS.root))
    responses = aiter(watch)
    await anext(responses)
    displaced = 0
    for node in lost:
        prefix = KEYS.assignments(node)
        question = RangeOp(prefix, prefix_end(prefix), count_only=True)
        displaced += (await store.range(question)).count
    sessions, placed = set(lost), 0
    started = time.perf_counter()
    revoking = asyncio.gather(*(store.revoke_lease(lease_of(n)) for n in range(size.lost_nodes)))
    detected = started
    async for response in responses:
        for event in response.events:
            key, kv = event.kv.key, event.kv
            if event.is_delete and key.startswith(KEYS.folder(Kind.SESSION)):
                sessions.discard(key.rpartition("/")[2])
                detected = time.perf_counter()
            elif key.startswith(ASSIGNMENTS) and kv.create_revision == kv.mod_revision:
                placed += 1
        if placed >= displaced and not sessions:
            break
    ended = time.perf_counter()
    await revoking
    await watch.close()
    name = f"loss of {size.lost_nodes} nodes with {displaced:,} instances"
    report.add(f"{name}: all detected", "s", [detected - started])
    report.add(f"{name}: from detection to all placed", "s", [ended - detected], aim="under 2")
    report.add(f"{name}: from the first end to all placed", "s", [ended - started])


def read_size(arguments: list[str] | None = None) -> tuple[Size, list[str]]:
    """What was asked for, and the flags that every benchmark has."""
    parser = argparse.ArgumentParser(add_help=False)
    for each in fields(Size):
        flag = f"--{each.name.replace('_', '-')}"
        parser.add_argument(flag, type=float if each.name == "start_seconds" else int)
    given, rest = parser.parse_known_args(arguments)
    chosen = {name: value for name, value in vars(given).items() if value is not None}
    return replace(QUICK if "--quick" in rest else Size(), **chosen), rest


def main() -> None:
    size, rest = read_size()
    options = parse_options(__doc__, rest)
    report = Report(f"From apply to running: {size.members} etcd members, 3 controllers")
    report.rows += asyncio.run(measure(size))
    report.publish(options)


if __name__ == "__main__":
    main()
