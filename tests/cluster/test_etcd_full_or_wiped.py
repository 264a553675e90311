"""etcd without space, and etcd that has forgotten everything, under a running cluster."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from orchestrator.cli.errors import NotFound, Refused
from store.errors import NoSpace
from store.etcd import EtcdStore
from store.maintenance import recover_space
from tests.cluster.conftest import etcd_at
from tests.support.local_cluster import LocalCluster
from tests.support.operator import key_of, operating, pid_of, pids_of, until, workload
from tests.support.orc_process import OrcProcess
from tests.support.store_history import store_at
from tests.support.stores import delete, put

QUOTA_BYTES = 8 * 1024 * 1024
TTL = "--lease-ttl-seconds=3"


async def fill_up(store: EtcdStore) -> None:
    while True:
        await put(store, "/junk", bytes(500_000))


async def test_an_etcd_out_of_space_stops_nothing_and_can_be_recovered(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path, f"--quota-backend-bytes={QUOTA_BYTES}")
    with LocalCluster(tmp_path, etcd, controllers=2, agents=2) as cluster:
        late = cluster.add_agent("late")
        async with operating(cluster.client()) as operator, store_at(etcd) as store:
            await operator.apply(workload("full", replicas=4))
            before = await operator.running("full", 4)
            with pytest.raises(NoSpace):
                await fill_up(store)
            with pytest.raises(Refused, match="the store is full and takes no writes"):
                await operator.api.scale(key_of("full"), 5)
            assert "disarm its alarm" in refusal_of(late)
            os.kill(pid_of(before[0]), signal.SIGKILL)
            assert all(psutil.pid_exists(pid_of(each)) for each in before[1:])
            assert all(each.is_running for each in cluster.processes if each is not late)

            await delete(store, "/junk")
            assert await recover_space(store)
            await operator.scale("full", 5)
            after = await operator.running("full", 5, lambda found: found[0].attempt == 2)
            assert pids_of(after).items() >= pids_of(before[1:]).items()


async def test_a_wiped_etcd_is_obeyed_only_by_a_persons_word(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path)
    terms = {"controller_flags": [TTL], "agent_flags": [TTL]}
    with LocalCluster(tmp_path, etcd, controllers=2, agents=2, **terms) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("wiped", replicas=4))
            before = await operator.running("wiped", 4)
            (member,) = etcd.members
            member.kill()
            member.wipe()
            member.start()
            for process in cluster.processes:
                assert process.wait() == 1
                print(process.name, process.errors())
            for agent in cluster.agents.values():
                assert "--accept-store" in refusal_of(agent)
            assert all(psutil.pid_exists(pid_of(each)) for each in before)

            for controller in cluster.controllers.values():
                controller.start()
            with pytest.raises(NotFound):
                await operator.workload("wiped")
            assert all(psutil.pid_exists(pid_of(each)) for each in before)
            for agent in cluster.agents.values():
                agent.start("--accept-store")

            async def is_cleared() -> bool:
                return not any(psutil.pid_exists(pid_of(each)) for each in before)

            await until(is_cleared)
            await operator.apply(workload("wiped", replicas=2))
            await operator.running("wiped", 2)


def refusal_of(process: OrcProcess) -> str:
    """Start it; the sentence with which it ends."""
    process.launch()
    assert process.wait() == 1
    return process.errors()[-1]
