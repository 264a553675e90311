"""Agents alone: with etcd gone, controllers gone, both gone, and themselves killed meanwhile. What
is healthy is never touched, what crashes comes back, and what must not run for long is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from orchestrator.model.views import WorkloadInstance
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.runtime.supervisor.launch import MARK
from tests.support.etcd import EtcdCluster, EtcdMember
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import Operator, operating, pid_of, pids_of, until, workload
from tests.support.orc_process import argv_of, environment_of, processes_of

TTL_SECONDS = 3
FENCE_SECONDS = 2.0
FENCE = OnNodeLost.FENCE


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    path = tmp_path_factory.mktemp("alone")
    ttl = f"--lease-ttl-seconds={TTL_SECONDS}"
    with LocalCluster(path, etcd_at(path), controllers=1, flags=[ttl]) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    async with operating(cluster.client()) as operator:
        yield operator
        member = member_of(cluster)
        if not member.is_running:
            await asyncio.to_thread(member.start)
        for agent in cluster.agents.values():
            if agent.is_running:
                agent.resume()
        cluster.revive()
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)


def member_of(cluster: LocalCluster) -> EtcdMember:
    assert isinstance(cluster.etcd, EtcdCluster)
    (member,) = cluster.etcd.members
    return member


def fenced(name: str, replicas: int = 3) -> WorkloadDefinition:
    return workload(name, replicas=replicas, on_node_lost=FENCE, lost_after_seconds=FENCE_SECONDS)


def processes_on(cluster: LocalCluster, node: str) -> list[int]:
    """Of its instances, as the kernel knows them; without what supervises them."""
    root = str(cluster.data_dir(node) / "containers")
    return sorted(
        each.pid
        for each in processes_of(cluster.data_dir(node))
        if environment_of(each).get(MARK, "").startswith(root)
    )


async def holds_for(seconds: float, pids: list[int]) -> None:
    """All of them live all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert all(map(psutil.pid_exists, pids))
        await asyncio.sleep(0.1)


async def one_on(operator: Operator, name: str, node: str) -> WorkloadInstance:
    (found,) = [each for each in await operator.running(name, 3) if each.node == node]
    return found


async def watched(operator: Operator, cluster: LocalCluster, node: str) -> psutil.Process:
    """The node's watchdog, once it is at work."""

    async def is_there() -> psutil.Process | None:
        found = [
            each
            for each in processes_of(cluster.data_dir(node))
            if any(part.endswith("/runtime/watch.py") for part in argv_of(each))
        ]
        return found[0] if found else None

    return await until(is_there)


async def test_agents_that_are_killed_while_everybody_is_gone_adopt_and_restart(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("alone", replicas=6, lost_after_seconds=1.0))
    before = await operator.running("alone", 6)
    member_of(cluster).kill()
    for controller in cluster.controllers.values():
        controller.kill()
    for agent in cluster.agents.values():
        agent.kill()
        agent.launch()
    victim = before[0]
    kept = [pid_of(each) for each in before[1:]]
    os.kill(pid_of(victim), signal.SIGKILL)

    async def is_back() -> bool:
        return len(processes_on(cluster, victim.node)) == 2

    await until(is_back)
    await holds_for(2 * TTL_SECONDS, kept)
    await asyncio.to_thread(member_of(cluster).start)
    cluster.revive()

    async def is_told() -> bool:
        after = {each.name: each for each in await operator.instances("alone")}
        return "restarted once while its node was cut off" in after[victim.name].reason

    await until(is_told)
    after = await operator.running("alone", 6)
    assert {each.attempt for each in after} == {1}
    assert set(kept) <= set(pids_of(after).values())


async def test_a_frozen_agents_watchdog_stops_it_before_it_is_replaced(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(fenced("frozen"))
    orphan = await one_on(operator, "frozen", "n1")
    await watched(operator, cluster, "n1")
    await node_is_watched(operator, "n1")
    cluster.agents["n1"].pause()

    async def is_stopped() -> bool:
        replaced = [each for each in await operator.instances("frozen") if each.attempt == 2]
        lives = psutil.pid_exists(pid_of(orphan)) and not is_zombie(pid_of(orphan))
        assert not (replaced and lives)
        return not lives

    await until(is_stopped)
    after = await operator.running(
        "frozen",
        3,
        lambda found: found[orphan.slot].attempt == 2,
        others_may_be_stopping=True,
    )
    assert "its watchdog has stopped it after 2 s" in after[orphan.slot].assigned_because
    cluster.agents["n1"].resume()
    assert pids_of(await operator.running("frozen", 3)) == pids_of(after)


async def test_a_killed_agent_that_returns_in_time_finds_watchdog_and_instance(
    cluster: LocalCluster, operator: Operator
) -> None:
    patient = workload("kept", replicas=3, on_node_lost=FENCE, lost_after_seconds=30.0)
    await operator.apply(patient)
    before = pids_of(await operator.running("kept", 3))
    watchdog = await watched(operator, cluster, "n2")
    cluster.agents["n2"].kill()
    assert watchdog.is_running()
    cluster.agents["n2"].start()
    await holds_for(TTL_SECONDS, list(before.values()))
    assert pids_of(await operator.running("kept", 3)) == before
    assert (await watched(operator, cluster, "n2")).pid == watchdog.pid


async def test_a_killed_watchdog_is_started_again(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(fenced("guarded"))
    before = pids_of(await operator.running("guarded", 3))
    watchdog = await watched(operator, cluster, "n3")
    watchdog.kill()

    async def is_another() -> bool:
        return (await watched(operator, cluster, "n3")).pid != watchdog.pid

    await until(is_another)
    assert pids_of(await operator.running("guarded", 3)) == before


async def node_is_watched(operator: Operator, node: str) -> None:
    """The leader knows of its watchdog."""

    async def is_so() -> bool:
        return (await operator.api.node(node)).has_watchdog

    await until(is_so)


def is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
