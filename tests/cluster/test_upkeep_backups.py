"""Backups of a real etcd: taken, proven, restored, and thrown away in time."""

from __future__ import annotations

import asyncio
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.process.clock import boottime
from orchestrator.upkeep.contents import contents_of
from orchestrator.upkeep.drill import Verdict, drill
from orchestrator.upkeep.programs import EtcdPrograms, installed_programs
from orchestrator.upkeep.restoring import Membership, read_backup, restore
from orchestrator.upkeep.scratch_etcd import scratch_etcd
from orchestrator.upkeep.snapshots import SnapshotDirectory
from store.etcd import EtcdStore
from store.maintenance import snapshot_to
from store.values import PutOp
from tests.support.etcd import EtcdCluster, etcd_of
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import operating, until, workload
from tests.support.store_history import store_at
from tests.support.stores import delete, put, send


@pytest.fixture(params=["3.4", "3.5"])
def etcd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(etcd_of(request.param), 1, tmp_path / "etcd") as cluster:
        yield cluster


@pytest.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    """With a little of everything in it."""
    async with store_at(etcd) as store:
        await store.grant_lease(7, 600)
        for start in range(0, 1200, 100):
            names = range(start, start + 100)
            await send(store, *(PutOp(f"/key/{n}", b"x" * 50, 7 * (n % 3 == 0)) for n in names))
        await delete(store, "/key/17")
        yield store


@pytest.fixture
def programs(etcd: EtcdCluster) -> EtcdPrograms:
    found = installed_programs(etcd.binary.parent)[0]
    if found.restorer is None:
        pytest.skip(f"neither etcdutl nor etcdctl beside {etcd.binary}: install etcd-client")
    return found


async def test_a_drill_proves_a_backup(
    store: EtcdStore, programs: EtcdPrograms, tmp_path: Path
) -> None:
    path = tmp_path / "backup.db"
    await snapshot_to(store, path)
    await put(store, "/written-since")

    result = await drill(path, store, clock=boottime, find_programs=lambda: [programs])

    assert result.verdict is Verdict.PROVEN, result.reason
    assert result.contents
    assert result.contents.keys == 1199
    assert result.contents == await contents_of(store, result.contents.revision)
    assert "all 1199 keys" in result.reason
    assert 0 < result.seconds < 60


async def test_a_drill_finds_a_backup_of_another_store(
    store: EtcdStore, programs: EtcdPrograms, tmp_path: Path
) -> None:
    with EtcdCluster(programs.server, 1, tmp_path / "other") as other:
        async with store_at(other) as elsewhere:
            await put(elsewhere, "/key/1", b"another value")
            await snapshot_to(elsewhere, tmp_path / "backup.db")
    result = await drill(
        tmp_path / "backup.db", store, clock=boottime, find_programs=lambda: [programs]
    )
    assert result.verdict is Verdict.FAILED
    assert "but the store held" in result.reason


async def test_a_drill_finds_a_damaged_backup(
    store: EtcdStore, programs: EtcdPrograms, tmp_path: Path
) -> None:
    path = tmp_path / "backup.db"
    await snapshot_to(store, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = await drill(path, store, clock=boottime, find_programs=lambda: [programs])
    assert result.verdict is Verdict.FAILED
    assert "its checksum does not hold" in result.reason


async def test_without_programs_a_drill_says_so(store: EtcdStore, tmp_path: Path) -> None:
    await snapshot_to(store, tmp_path / "backup.db")
    result = await drill(tmp_path / "backup.db", store, clock=boottime, find_programs=list)
    assert result.verdict is Verdict.NOT_DONE
    assert "there is no etcd program here: install etcd" in result.reason


async def test_what_is_restored_is_another_cluster_with_the_same_contents(
    store: EtcdStore, programs: EtcdPrograms, tmp_path: Path
) -> None:
    await snapshot_to(store, tmp_path / "backup.db")
    expected = await contents_of(store)
    backup = read_backup(tmp_path / "backup.db")
    (member,) = await store.members()
    membership = Membership("m0", "http://127.0.0.1:2380")
    data_dirs = [tmp_path / "restored-1", tmp_path / "restored-2"]
    clusters = set()
    for data_dir in data_dirs:
        await restore(backup, data_dir, membership, programs)
        async with scratch_etcd(
            programs,
            data_dir,
            "m0",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=m0=http://127.0.0.1:2380",
        ) as scratch:
            assert await contents_of(scratch.store) == expected
            assert scratch.status.version == member.version
            clusters.add(scratch.status.header.cluster_id)
    assert len(clusters) == 1, "every machine that restores it makes the same cluster of it"
    assert member.header.cluster_id not in clusters

    with pytest.raises(ConfigError, match="is there already: stop etcd and move it away"):
        await restore(backup, data_dirs[0], membership, programs)


async def test_a_directory_keeps_the_newest_snapshots(store: EtcdStore, tmp_path: Path) -> None:
    now = 1_800_000_000.0
    directory = SnapshotDirectory(tmp_path / "kept", kept=2, wall_clock=lambda: now)
    assert directory.newest() is None
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a-persons-own.db").write_text("precious")
    for _ in range(3):
        taken = await directory.take(store)
        now += 3600
    assert directory.newest() == taken
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "a-persons-own.db",
        "etcd-20270115T090000Z.db",
        "etcd-20270115T090000Z.db.sha256",
        "etcd-20270115T100000Z.db",
        "etcd-20270115T100000Z.db.sha256",
    ]
    command = ["sha256sum", "--check", "--quiet", f"{taken.path.name}.sha256"]
    await asyncio.to_thread(subprocess.run, command, cwd=taken.path.parent, check=True)


async def test_a_cluster_of_three_is_restored_from_one_file(
    store: EtcdStore, programs: EtcdPrograms, tmp_path: Path
) -> None:
    backup_file = tmp_path / "backup.db"
    await snapshot_to(store, backup_file)
    expected = await contents_of(store)
    backup = read_backup(backup_file)
    renewed = EtcdCluster(programs.server, 3, tmp_path / "renewed")
    names = ",".join(f"{member.name}={member.peer_url}" for member in renewed.members)
    for member in renewed.members:
        await restore(
            backup, member.data_dir, Membership(member.name, member.peer_url, names), programs
        )
    with renewed:
        async with store_at(renewed) as fresh:
            assert await contents_of(fresh, expected.revision) == expected
            await put(fresh, "/written-since")
            assert len({each.header.cluster_id for each in await fresh.members()}) == 1


@pytest.mark.slow
async def test_the_leader_keeps_proven_backups(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path)
    flags = [f"--snapshot-dir={tmp_path / 'backups'}", "--snapshot-interval-seconds=5"]
    flags += ["--snapshots-kept=2", f"--etcd-bin-dir={etcd.binary.parent}"]
    with LocalCluster(tmp_path, etcd, controllers=1, agents=1, controller_flags=flags) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("any"))

            async def proven_twice() -> bool:
                events = [each.kind for each in await operator.events("etcd")]
                assert set(events) <= {"EtcdBackupProven"}
                return len(events) > 2

            await until(proven_twice)
        assert len(list((tmp_path / "backups").glob("*.db"))) == 2
        (controller,) = cluster.controllers.values()
        metrics = await asyncio.to_thread(urllib.request.urlopen, f"{controller.url}/metrics")
        assert b"orchestrator_etcd_last_drill_result 1.0" in metrics.read()
