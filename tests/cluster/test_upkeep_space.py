"""A real etcd with little room, or none, and how it gets out of that by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.cli.errors import Refused
from store.errors import NoSpace
from store.etcd import EtcdStore
from store.values import PutOp
from tests.support.etcd import EtcdCluster, etcd_of
from tests.support.local_cluster import LocalCluster, etcd_at, start_together
from tests.support.operator import operating, pid_of, pids_of, until, workload
from tests.support.orc_process import run_orc_process
from tests.support.store_history import store_at
from tests.support.stores import get, put, send

pytestmark = pytest.mark.timeout(300)

QUOTA_BYTES = 8 * 1024 * 1024
QUOTA = f"--quota-backend-bytes={QUOTA_BYTES}"
TOLD_QUOTA = f"--etcd-quota-bytes={QUOTA_BYTES}"


async def fill_with_history(store: EtcdStore) -> None:
    """With so many versions of each key that etcd takes a while to remove what is compacted."""
    with suppress(NoSpace):
        while True:
            await send(store, *(PutOp(f"/junk/{n}", bytes(5_000)) for n in range(100)))


async def fill_to(store: EtcdStore, size_bytes: float) -> None:
    """With what no compaction takes away; small values, for large ones leave gaps."""
    for part in range(1000):
        await send(store, *(PutOp(f"/junk/{part}/{n}", bytes(10_000)) for n in range(100)))
        if part * 1_000_000 < 0.8 * size_bytes:
            continue
        await asyncio.sleep(0.15)  # etcd commits, and then counts, every 100 ms
        (member,) = await store.members()
        if member.db_size_in_use_bytes >= size_bytes:
            return
    raise AssertionError("it does not fill")


async def takes_writes(store: EtcdStore) -> bool:
    try:
        await put(store, "/probe")
    except NoSpace:
        return False
    return True


@pytest.mark.slow
async def test_a_full_etcd_is_helped_by_its_controllers_and_nothing_stops(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path, QUOTA)
    with LocalCluster(
        tmp_path, etcd, controllers=2, agents=1, controller_flags=[TOLD_QUOTA]
    ) as cluster:
        async with operating(cluster.client()) as operator, store_at(etcd) as store:
            await operator.apply(workload("full", replicas=3))
            before = await operator.running("full", 3)
            leader = await operator.leader()
            epoch = (await operator.api.cluster()).leader
            await fill_with_history(store)
            os.kill(pid_of(before[0]), signal.SIGKILL)

            await until(lambda: takes_writes(store))
            await operator.scale_once_there_is_room("full", 4)
            after = await operator.running("full", 4, lambda found: found[0].attempt == 2)
            assert pids_of(after).items() >= pids_of(before[1:]).items()
            assert await operator.leader() == leader, "its lease outlives a full store"
            assert (await operator.api.cluster()).leader == epoch
            assert all(process.is_running for process in cluster.processes)


@pytest.mark.slow
async def test_a_full_etcd_without_a_leader_is_helped_too(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path, QUOTA)
    with LocalCluster(
        tmp_path, etcd, controllers=2, agents=1, controller_flags=[TOLD_QUOTA]
    ) as cluster:
        async with operating(cluster.client()) as operator, store_at(etcd) as store:
            await operator.apply(workload("full", replicas=2))
            before = pids_of(await operator.running("full", 2))
            for controller in cluster.controllers.values():
                controller.kill()
            await fill_with_history(store)
            start_together(cluster.controllers.values())
            await operator.scale_once_there_is_room("full", 3)
            after = pids_of(await operator.running("full", 3))
            assert after.items() >= before.items()


@pytest.fixture(params=[("3.4", 1), ("3.4", 3), ("3.5", 1)], ids=str)
def small_etcd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdCluster]:
    version, members = request.param
    program = etcd_of(version)
    with EtcdCluster(program, members, tmp_path / "etcd", extra_args=[QUOTA]) as etcd:
        yield etcd


async def test_room_is_made_by_hand_where_no_controller_is(small_etcd: EtcdCluster) -> None:
    where = f"--etcd-endpoints={','.join(small_etcd.endpoints)}"
    async with store_at(small_etcd) as store:
        await put(store, "/orchestrator/events/17/old")
        await put(store, "/kept", b"precious")
        await fill_with_history(store)
        status = run_orc_process("etcd", "status", where, TOLD_QUOTA)
        assert status.returncode == 1
        assert "etcd is out of space" in status.stdout
        assert "alarm:NOSPACE" in status.stdout

        made = run_orc_process("etcd", "make-room", where)

        assert made.returncode == 0, made.stderr
        assert "the alarm is lifted" in made.stdout
        for endpoint in small_etcd.endpoints:
            assert f"defragmenting {endpoint}" in made.stderr
        for member in await store.members():
            assert member.db_size_bytes < QUOTA_BYTES / 2, "it shrank before it had removed all"
        assert await takes_writes(store)
        kept = await get(store, "/kept")
        assert kept
        assert kept.value == b"precious"
        if small_etcd.version != "3.5":  # 3.5.1 refuses deletions too while it is full
            assert not await get(store, "/orchestrator/events/17/old")
        again = run_orc_process("etcd", "make-room", where)
        assert again.stdout == "etcd is not out of space: nothing was done\n"
        status = run_orc_process("etcd", "status", where, TOLD_QUOTA)
        assert status.returncode == (1 if small_etcd.version == "3.5" else 0)
        assert "NOSPACE" not in status.stdout


async def test_a_nearly_full_etcd_takes_less_but_not_more(tmp_path: Path) -> None:
    quota = 64 * 1024 * 1024
    etcd = etcd_at(tmp_path, f"--quota-backend-bytes={quota}")
    told = [f"--etcd-quota-bytes={quota}"]
    with LocalCluster(tmp_path, etcd, controllers=1, agents=1, controller_flags=told) as cluster:
        async with operating(cluster.client()) as operator, store_at(etcd) as store:
            await operator.apply(workload("tight", replicas=3))
            before = await operator.running("tight", 3)
            await fill_to(store, 0.91 * quota)

            async def warned() -> bool:
                warnings = (await operator.api.cluster()).warnings
                return any("changes that ask for more are refused" in each for each in warnings)

            await until(warned)
            with pytest.raises(Refused, match="raise etcd's --quota-backend-bytes") as refused:
                await operator.api.apply(workload("more"))
            assert refused.value.status == 507
            with pytest.raises(Refused, match="nothing was changed: etcd is"):
                await operator.api.apply(workload("tight", replicas=4))
            await operator.apply(workload("tight", replicas=2))
            after = await operator.running("tight", 2)
            assert pids_of(before).items() >= pids_of(after).items()
            await operator.delete("tight")
            assert not any(psutil.pid_exists(pid_of(each)) for each in before)
