"""etcd without space, and etcd that has forgotten everything, under a running cluster."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from store.errors import NoSpace
from store.etcd import EtcdStore
from store.maintenance import recover_space
from tests.support.local_cluster import LocalCluster, etcd_at, start_together
from tests.support.operator import operating, pid_of, pids_of, until, workload
from tests.support.orc_process import OrcProcess, run_orc_process
from tests.support.store_history import store_at
from tests.support.stores import delete, put

QUOTA_BYTES = 8 * 1024 * 1024
TTL = "--lease-ttl-seconds=3"


async def fill_up(store: EtcdStore) -> None:
    while True:
        await put(store, "/junk", bytes(500_000))


async def test_an_etcd_out_of_space_stops_nothing_and_can_be_recovered(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path, f"--quota-backend-bytes={QUOTA_BYTES}")
    by_hand = ["--no-etcd-upkeep"]
    with LocalCluster(tmp_path, etcd, controllers=2, agents=1, controller_flags=by_hand) as cluster:
        late = cluster.add_agent("late")
        async with operating(cluster.client()) as operator, store_at(etcd) as store:
            await operator.apply(workload("full", replicas=4))
            before = await operator.running("full", 4)
            with pytest.raises(NoSpace):
                await fill_up(store)
            late.launch()
            refused = run_orc_process(f"--server={cluster.servers[0]}", "scale", "full", "5")
            assert refused.returncode == 1
            assert refused.stderr.startswith(
                "error: the store is full and takes no writes: compact"
            )
            await until(lambda: says(late, "the store is full; registering when it has room"))
            os.kill(pid_of(before[0]), signal.SIGKILL)
            assert all(psutil.pid_exists(pid_of(each)) for each in before[1:])
            assert all(each.is_running for each in cluster.processes)

            await delete(store, "/junk")
            assert await recover_space(store, print)
            late.wait_until_ready()
            await operator.scale("full", 5)
            after = await operator.running("full", 5, lambda found: found[0].attempt == 2)
            assert pids_of(after).items() >= pids_of(before[1:]).items()


async def test_a_wiped_etcd_is_obeyed_only_by_a_persons_word(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path)
    with LocalCluster(tmp_path, etcd, controllers=2, agents=1, flags=[TTL]) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("wiped", replicas=4))
            before = [pid_of(each) for each in await operator.running("wiped", 4)]
        (member,) = etcd.members
        member.kill()
        member.wipe()
        member.start()
        for process in cluster.processes:
            assert process.wait() == 1
            last_words = process.errors()[-1]
            assert "etcd was wiped or restored" in last_words
            assert re.search("start this (process|replica) again", last_words)
        start_together(cluster.controllers.values())
        assert "Nothing has been stopped" in refusal_of(cluster.agents["n1"])
        assert all(map(psutil.pid_exists, before))
        async with operating(cluster.client()) as operator:
            assert (await operator.api.workloads()).items == ()
            cluster.agents["n1"].start("--accept-store")
            await until(lambda: none_exists(before))
            await operator.apply(workload("wiped", replicas=2))
            await operator.running("wiped", 2)


async def says(process: OrcProcess, text: str) -> bool:
    return text in process.said()


async def none_exists(pids: list[int]) -> bool:
    return not any(map(psutil.pid_exists, pids))


def refusal_of(process: OrcProcess) -> str:
    """Start it; the sentence with which it ends."""
    process.launch()
    assert process.wait() == 1
    return process.errors()[-1]
