"""Leaders that are killed, frozen or stopped: another leads, and what they wrote stays right.

After each test the store's whole history is judged: no hole, no overwrite of what was not read,
nothing carried out twice, and every write under the epoch that held at that very revision.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.local_cluster import LocalCluster, etcd_at, start_together
from tests.support.operator import Operator, operating, pid_of, pids_of, workload
from tests.support.store_history import created_attempts, history_at, violations

TTL_SECONDS = 3
LONG_TTL_SECONDS = 60
HAND_OVER_LIMIT_SECONDS = 5.0
"""Of lease time a small part: it can only be met by resigning. How quick it is, the scenarios say
in virtual time and benchmarks/failover.py on a quiet machine."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    path = tmp_path_factory.mktemp("leaders")
    flags = [f"--lease-ttl-seconds={TTL_SECONDS}"]
    with LocalCluster(path, etcd_at(path), agents=2, controller_flags=flags) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    """All controllers run again at the end."""
    async with operating(cluster.client()) as operator:
        yield operator
        cluster.revive()
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)
        assert violations(await history_at(cluster.etcd)) == []


def others(cluster: LocalCluster, name: str) -> list[str]:
    return [each for each in cluster.controllers if each != name]


async def test_a_scale_in_the_gap_after_a_killed_leader_is_carried_out_once(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("gap", replicas=2))
    before = await operator.running("gap", 2)
    old = await operator.leader()
    cluster.controllers[old].kill()
    async with operating(cluster.client(*others(cluster, old))) as survivor:
        await survivor.scale("gap", 5)
        assert await survivor.leader() == old, "the machine is too slow: the gap was over"
        assert await survivor.leader(other_than=old) in others(cluster, old)
        after = await survivor.running("gap", 5)
    assert pids_of(after).items() >= pids_of(before).items()
    attempts = created_attempts(await history_at(cluster.etcd), "gap")
    assert attempts == ["0.1", "1.1", "2.1", "3.1", "4.1"]


async def test_a_frozen_leader_that_wakes_writes_nothing_and_ends(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("frozen", replicas=2))
    await operator.running("frozen", 2)
    old = await operator.leader()
    frozen = cluster.controllers[old]
    frozen.pause()
    async with operating(cluster.client(*others(cluster, old))) as survivor:
        await survivor.leader(other_than=old)
        await survivor.scale("frozen", 4)
        (victim, *_) = await survivor.running("frozen", 4)
        frozen.resume()
        os.kill(pid_of(victim), signal.SIGKILL)
        await survivor.running("frozen", 4, lambda found: found[0].attempt == 2)
    assert frozen.wait() == 1
    assert "lease" in frozen.errors()[-1]
    attempts = created_attempts(await history_at(cluster.etcd), "frozen")
    assert attempts == ["0.1", "0.2", "1.1", "2.1", "3.1"]


async def test_a_frozen_leader_that_wakes_in_time_goes_on_leading(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("blink", replicas=1))
    await operator.running("blink", 1)
    old = await operator.leader()
    cluster.controllers[old].pause()
    async with operating(cluster.client(*others(cluster, old))) as survivor:
        await survivor.scale("blink", 3)
        cluster.controllers[old].resume()
        await survivor.running("blink", 3)


async def test_a_leader_that_is_stopped_hands_over_without_waiting_for_its_lease(
    cluster: LocalCluster,
) -> None:
    """Two more controllers, with keys of their own, and leases of a minute."""
    flags = ("--root=/elsewhere/", f"--lease-ttl-seconds={LONG_TTL_SECONDS}")
    pair = [cluster.add_controller(name, *flags) for name in ("d1", "d2")]
    start_together(pair)
    async with operating(cluster.client("d1", "d2")) as operator:
        old = await operator.leader()
        asked = time.monotonic()
        assert cluster.controllers[old].stop() == 0
        await operator.leader(other_than=old)
        assert time.monotonic() - asked < HAND_OVER_LIMIT_SECONDS
    for controller in pair:
        controller.close()
        del cluster.controllers[controller.name]


async def test_instances_outlive_all_controllers(cluster: LocalCluster, operator: Operator) -> None:
    await operator.apply(workload("orphaned", replicas=3))
    before = await operator.running("orphaned", 3)
    for controller in cluster.controllers.values():
        controller.kill()
    os.kill(pid_of(before[1]), signal.SIGKILL)
    cluster.revive()
    after = await operator.running("orphaned", 3, lambda found: found[1].attempt == 2)
    assert [pid_of(after[0]), pid_of(after[2])] == [pid_of(before[0]), pid_of(before[2])]
