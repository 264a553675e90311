"""Containers: what it takes until they run, ours beside a runtime's own command, Docker and Swarm.

All in one run on one machine, in a network of its own: bare crun and runc; conmon with crun, and
with CNI's bridge besides; `docker run`; a swarm of one engine; and our cluster of one etcd, three
controllers and one node, where each instance has an address on the node's bridge. Ours counts
from the request that `orc apply` sends until the API says Running; Swarm's from the start of
`docker service create` until the engine's API does. All images are on the machine before.

    python -m benchmarks.containers [--quick] [--json PATH]      as root
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.container_docker import docker_engine
from benchmarks.container_host import (
    RootFs,
    enter_own_host,
    make_rootfs,
    removing_cgroups,
    run_in_memory,
    without_unified_cgroups,
)
from benchmarks.container_ours import our_cluster
from benchmarks.container_peers import Peers
from benchmarks.report import Report, parse_options, percentile

Samples = dict[str, list[float]]
ONE = 1
AIMS = {
    "100 replicas": "at most 20 % of Swarm's",
    "100 replicas to zero": "at most 20 % of Swarm's",
}
BY_HAND = "conmon + crun + CNI by hand"


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds`: how often so many replicas are started, and scaled to zero."""

    runs: int
    rounds: dict[int, int]
    resting: int


FULL = Plan(runs=20, rounds={1: 20, 20: 5, 100: 3}, resting=100)
QUICK = Plan(runs=5, rounds={1: 3, 20: 1}, resting=20)


async def main() -> None:
    options = parse_options(__doc__)
    enter_own_host()
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="orcb-") as path, removing_cgroups():
        directory = Path(path)
        rootfs = make_rootfs(directory)
        bare = await time_peers(plan, directory, rootfs)
        with run_in_memory(directory):
            docker, swarm = await time_docker(plan, directory, rootfs)
            async with our_cluster(directory) as cluster:
                ours = await time_service(plan, cluster)
                resident, own = await cluster.memory_mb(plan.resting)
    report = Report("Containers: until they run, and until none is left")
    for name, samples in {**bare, **docker}.items():
        add(report, name, samples)
    for name, samples in swarm.items():
        add(report, f"Docker Swarm: {name}", samples)
    for name, samples in ours.items():
        add_ours(report, name, samples, swarm[name], bare[BY_HAND])
    report.add(f"agent: RSS with {plan.resting} containers", "MB", resident, aim="at most 80")
    report.add(f"agent: USS with {plan.resting} containers", "MB", own)
    report.publish(options)


async def time_peers(plan: Plan, directory: Path, rootfs: RootFs) -> Samples:
    peers = Peers(directory, rootfs)
    ways = {
        "crun run": (peers.run_crun, peers.end_crun),
        "runc run": (peers.run_runc, peers.end_runc),
        "conmon + crun": (peers.run_conmon, peers.end_crun),
        BY_HAND: (peers.run_conmon_on_network, peers.end_on_network),
    }
    with without_unified_cgroups():
        for start, end in ways.values():
            await peers.time(start, end)  # the first of each is slower
        return {
            name: [await peers.time(start, end) for _ in range(plan.runs)]
            for name, (start, end) in ways.items()
        }


async def time_docker(plan: Plan, directory: Path, rootfs: RootFs) -> tuple[Samples, Samples]:
    """`docker run`, and the swarm's."""
    async with docker_engine(directory, rootfs) as docker:
        peers = Peers(directory, rootfs)
        await peers.time(docker.run, docker.end)
        single = [await peers.time(docker.run, docker.end) for _ in range(plan.runs)]
        await docker.begin_swarm()
        return {"docker run -d": single}, await time_service(plan, docker)


class Service(Protocol):
    """Something that runs replicas. Both answer in milliseconds."""

    async def start(self, name: str, replicas: int) -> float:
        """Until all of them run."""
        ...

    async def to_zero(self, name: str) -> float:
        """Until none of them is left; the service is forgotten."""
        ...


async def time_service(plan: Plan, service: Service) -> Samples:
    """Of each number of replicas: until all run, and from there until none is left."""
    samples: Samples = {}
    await one_round(service, "warm-up", ONE)
    for replicas, rounds in plan.rounds.items():
        pairs = [
            await one_round(service, f"bench-{replicas}-{turn}", replicas) for turn in range(rounds)
        ]
        samples[many(replicas)] = [up for up, _ in pairs]
        samples[f"{many(replicas)} to zero"] = [down for _, down in pairs]
    return samples


def many(replicas: int) -> str:
    return f"{replicas} replica" if replicas == ONE else f"{replicas} replicas"


async def one_round(service: Service, name: str, replicas: int) -> tuple[float, float]:
    return await service.start(name, replicas), await service.to_zero(name)


def add(report: Report, name: str, samples: Sequence[float]) -> None:
    report.add(f"{name}, p50", "ms", samples)
    report.add(f"{name}, p99", "ms", samples, value=percentile(samples, 99))


def add_ours(
    report: Report,
    name: str,
    samples: Sequence[float],
    swarm: Sequence[float],
    bare: Sequence[float],
) -> None:
    """Beside Swarm's, and one replica beside the same by hand."""
    aim = AIMS.get(name, "")
    report.add(f"ours: {name}, p50", "ms", samples, floor=statistics.median(swarm), aim=aim)
    p99 = percentile(samples, 99)
    report.add(f"ours: {name}, p99", "ms", samples, value=p99, floor=percentile(swarm, 99))
    if name == many(ONE):
        floor = statistics.median(bare)
        aim = f"at most {floor + 100:.0f}: {BY_HAND} and 100 ms"
        report.add(f"ours: {name}, beside {BY_HAND}", "ms", samples, floor=floor, aim=aim)


if __name__ == "__main__":
    asyncio.run(main())
