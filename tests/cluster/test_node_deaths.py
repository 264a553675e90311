"""Nodes whose agents die: believed at once where two others confirm it, and never by fewer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from orchestrator.model.node import NodeStatus
from tests.support.judged import judged
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import Operator, pids_of, until, workload

TTL_SECONDS = 600
"""Far more than a test waits: what becomes of a node here, has not come of the end of its lease."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    path = tmp_path_factory.mktemp("nodes")
    flags = [f"--lease-ttl-seconds={TTL_SECONDS}"]
    with LocalCluster(path, etcd_at(path), controllers=1, agent_flags=flags) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    """The leader has met all agents; at the end, all of them run again."""
    async with judged(cluster) as operator:
        await until(lambda: has_met(cluster, 3))
        yield operator


async def has_met(cluster: LocalCluster, nodes: int) -> bool:
    url = f"{cluster.controllers['c1'].url}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return f"orchestrator_leader_met_nodes {nodes:.1f}\n" in await answer.text()


async def becomes(operator: Operator, node: str, status: NodeStatus) -> None:
    async def is_so() -> bool:
        return (await operator.api.node(node)).status is status

    await until(is_so)


async def test_a_killed_agent_is_noticed_at_once_and_what_it_runs_goes_on(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("calm", replicas=3))
    before = await operator.running("calm", 3)
    cluster.agents["n1"].kill()
    await becomes(operator, "n1", NodeStatus.UNKNOWN)
    *_, found = (each for each in await operator.events("n1") if each.kind == "NodeFoundDead")
    assert "leader c1" in found.reason
    assert "n2 and n3" in found.reason
    cluster.revive()
    await becomes(operator, "n1", NodeStatus.READY)
    assert pids_of(await operator.running("calm", 3)) == pids_of(before)


async def test_one_witness_is_not_enough(cluster: LocalCluster, operator: Operator) -> None:
    cluster.agents["n3"].pause()
    cluster.agents["n1"].kill()

    async def is_doubted() -> bool:
        return "1 of the 2 witnesses" in cluster.controllers["c1"].said()

    await until(is_doubted)
    assert (await operator.api.node("n1")).status is NodeStatus.READY
    cluster.agents["n3"].resume()
    await becomes(operator, "n1", NodeStatus.UNKNOWN)
    assert (await operator.api.node("n3")).status is NodeStatus.READY
