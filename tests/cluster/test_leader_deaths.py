"""Leaders that are killed, frozen or stopped: another leads, and what they wrote stays right.

After each test the store's whole history is judged: no hole, no overwrite of what was not read,
nothing carried out twice, and every write under the epoch that held at that very revision.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from orchestrator.simulation.judging import created_attempts
from tests.support.judged import judged
from tests.support.local_cluster import LocalCluster, etcd_at, start_together
from tests.support.operator import Operator, operating, pid_of, pids_of, until, workload
from tests.support.ports import free_port
from tests.support.proxy import TcpProxy
from tests.support.store_history import history_at

TTL_SECONDS = 3
LONG_TTL_SECONDS = 60
PAIR = ("d1", "d2")
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
    async with judged(cluster) as operator:
        yield operator


def others(cluster: LocalCluster, name: str) -> list[str]:
    return [each for each in cluster.controllers if each != name]


@asynccontextmanager
async def patient_pair(
    cluster: LocalCluster,
    root: str,
    ways: Sequence[TcpProxy] = (),
    ttl_seconds: int = LONG_TTL_SECONDS,
) -> AsyncIterator[Operator]:
    """Two more controllers, with keys of their own and long leases, reached by each other through
    `ways` if there are any. What they have said before, in another test, is forgotten."""
    flags = (f"--root=/{root}/", f"--lease-ttl-seconds={ttl_seconds}")
    pair = [cluster.add_controller(name, *flags) for name in PAIR]
    for controller in pair:
        controller.log.unlink(missing_ok=True)
    for controller, way in zip(pair, ways, strict=False):
        way.target_port = controller.port
        controller.flags.append(f"--advertise=http://127.0.0.1:{way.port}")
    try:
        await asyncio.to_thread(start_together, pair)
        async with operating(cluster.client(*PAIR)) as operator:
            yield operator
    finally:
        for controller in pair:
            controller.close()
            del cluster.controllers[controller.name]


async def watched_leader(cluster: LocalCluster, operator: Operator) -> tuple[str, str]:
    """The pair's leader, and the other one, once that holds a connection to the leader."""
    leader = await operator.leader()
    (standby,) = set(PAIR) - {leader}

    async def is_held() -> bool:
        return "will be noticed at once" in cluster.controllers[standby].said()

    await until(is_held)
    return leader, standby


async def test_a_scale_in_the_gap_after_a_killed_leader_is_carried_out_once(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("gap", replicas=2))
    before = await operator.running("gap", 2)
    old = await operator.leader()
    cluster.controllers[old].kill()
    async with operating(cluster.client(*others(cluster, old))) as survivor:
        await survivor.scale("gap", 5)
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
    async with patient_pair(cluster, "stopped") as operator:
        old = await operator.leader()
        asked = time.monotonic()
        assert await asyncio.to_thread(cluster.controllers[old].stop) == 0
        await operator.leader(other_than=old)
        assert time.monotonic() - asked < HAND_OVER_LIMIT_SECONDS


async def test_a_leader_that_is_killed_is_followed_without_waiting_for_its_lease(
    cluster: LocalCluster,
) -> None:
    async with patient_pair(cluster, "killed") as operator:
        old, standby = await watched_leader(cluster, operator)
        died = time.monotonic()
        cluster.controllers[old].kill()
        assert await operator.leader(other_than=old) == standby
        assert time.monotonic() - died < HAND_OVER_LIMIT_SECONDS


async def test_a_leader_that_only_looks_dead_ends_and_another_leads(cluster: LocalCluster) -> None:
    """What the others reach it through resets, and refuses from then on."""
    ways = [TcpProxy(free_port()) for _ in "12"]
    for way in ways:
        await way.start()
    async with patient_pair(cluster, "slandered", ways, ttl_seconds=9) as operator:
        old, standby = await watched_leader(cluster, operator)
        slandered = cluster.controllers[old]
        await next(way for way in ways if way.target_port == slandered.port).close()
        assert await operator.leader(other_than=old) == standby
        assert "the leader has died" in cluster.controllers[standby].said()
        assert await asyncio.to_thread(slandered.wait) == 1
        assert "was revoked" in slandered.errors()[-1]
    await asyncio.gather(*(way.close() for way in ways))


async def test_instances_outlive_all_controllers(cluster: LocalCluster, operator: Operator) -> None:
    await operator.apply(workload("orphaned", replicas=3))
    before = await operator.running("orphaned", 3)
    for controller in cluster.controllers.values():
        controller.kill()
    os.kill(pid_of(before[1]), signal.SIGKILL)
    cluster.revive()
    after = await operator.running("orphaned", 3, lambda found: found[1].attempt == 2)
    assert [pid_of(after[0]), pid_of(after[2])] == [pid_of(before[0]), pid_of(before[2])]
