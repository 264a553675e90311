"""etcd frozen, dead, out of space or wiped under a running cluster: not one process is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.cli.errors import NotNow
from orchestrator.model.node import NodeStatus
from orchestrator.model.views import WorkloadInstance
from tests.support.etcd import EtcdCluster, EtcdMember
from tests.support.judged import judged
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import Operator, key_of, operating, pid_of, pids_of, until, workload

TTL = "--lease-ttl-seconds=3"
OUTAGE_SECONDS = 8.0
"""More than the leases, and than `lost_after_seconds` below."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    path = tmp_path_factory.mktemp("outages")
    with LocalCluster(path, etcd_at(path), controllers=2, agents=2, flags=[TTL]) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    async with judged(cluster) as operator:
        yield operator
        member = member_of(cluster)
        if member.is_running:
            member.resume()
        else:
            member.start()


def member_of(cluster: LocalCluster) -> EtcdMember:
    assert isinstance(cluster.etcd, EtcdCluster)
    (member,) = cluster.etcd.members
    return member


Fault = Callable[[EtcdMember], None]
FAULTS: dict[str, tuple[Fault, Fault]] = {
    "frozen": (EtcdMember.pause, EtcdMember.resume),
    "dead": (EtcdMember.kill, EtcdMember.start),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_longer_than_all_leases_touches_no_process(
    cluster: LocalCluster, operator: Operator, fault: str
) -> None:
    name = f"through-{fault}"
    await operator.apply(workload(name, replicas=4, lost_after_seconds=5.0))
    before = await operator.running(name, 4)
    begin, end = FAULTS[fault]
    begin(member_of(cluster))
    await outage(cluster, operator, before, OUTAGE_SECONDS)
    await asyncio.to_thread(end, member_of(cluster))
    await goes_on(cluster, operator, name, before)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_minute_without_etcd_touches_no_process(tmp_path: Path) -> None:
    """With the leases that everybody has, and a workload that is soon given up. Who starts in
    that minute waits for half of it, and says what to do."""
    with LocalCluster(tmp_path, etcd_at(tmp_path)) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("minute", replicas=6, lost_after_seconds=20.0))
            before = await operator.running("minute", 6)
            member_of(cluster).stop()
            late = [cluster.add_controller("c9"), cluster.add_agent("n9")]
            for process in late:
                process.launch()
            del cluster.controllers["c9"], cluster.agents["n9"]
            await outage(cluster, operator, before, 60.0)
            for process in late:
                assert process.wait() == 1
                (sentence,) = process.errors()
                assert sentence.startswith(f"error: etcd at {cluster.etcd.endpoints[0]} cannot be")
                assert sentence.endswith("): start it, or correct --etcd-endpoints")
            member_of(cluster).start()
            await goes_on(cluster, operator, "minute", before)


async def outage(
    cluster: LocalCluster, operator: Operator, before: list[WorkloadInstance], seconds: float
) -> None:
    """Let the time pass; all instances live, and are shown, while nothing can be changed."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(seconds))
        with pytest.raises(NotNow):
            await operator.api.scale(key_of(before[0].workload), 9)
    assert all(psutil.pid_exists(pid_of(each)) for each in before)
    assert all(agent.is_running for agent in cluster.agents.values())
    assert pids_of(await operator.instances(before[0].workload)) == pids_of(before)


async def goes_on(
    cluster: LocalCluster, operator: Operator, name: str, before: list[WorkloadInstance]
) -> None:
    """Whoever led has ended himself, and is started again; the rest is as it was."""
    ended = [each for each in cluster.controllers.values() if not each.is_running]
    assert [each.exit_code for each in ended] == [1]
    cluster.revive()
    for node in cluster.agents:
        await becomes_ready(operator, node)
    await operator.scale(name, len(before) + 1)
    after = await operator.running(name, len(before) + 1)
    assert pids_of(after).items() >= pids_of(before).items()


async def becomes_ready(operator: Operator, node: str) -> None:
    async def is_ready() -> bool:
        return (await operator.api.node(node)).status is NodeStatus.READY

    await until(is_ready)
