"""Processes that outlive their agent: what is killed here is really killed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.model.resources import NodeResources
from orchestrator.runtime.container_dir import ContainerDir
from orchestrator.runtime.outcome import UNSEEN
from orchestrator.runtime.previous_logs import FOLDER
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerRuntime, ContainerSpec, ContainerState, LogQuery
from orchestrator.runtime.supervised import ProcessLimits
from orchestrator.runtime.supervisor.processes import start_ticks, stat_fields
from tests.support.agent_process import SPECS
from tests.support.containers import DEADLINE_SECONDS, ProcessWorld, until, until_exited

ONE = "default.web.0.1.main"
LIMITS = ProcessLimits(log_bytes=2000, log_files=3, open_files=100)

COUNT = "n=0; while [ $n -lt 60 ]; do echo line $n; n=$((n+1)); sleep 0.01; done; exit 7"
COUNTED = [f"line {n}" for n in range(60)]
DAEMON = (
    "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &) ;"
    " until [ -s daemon ]; do sleep 0.01; done; "
)
"""A grandchild that leaves the process group, the session and its parent."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    made = ProcessWorld(tmp_path / "containers", str(uuid.uuid4()), LIMITS)
    yield made
    await made.aclose()


@pytest.fixture
async def runtime(world: ProcessWorld) -> ContainerRuntime:
    return await world.open()


@contextmanager
def agent_process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.agent_process", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as agent:
        try:
            yield agent
        finally:
            agent.kill()


def as_json(spec: ContainerSpec) -> str:
    return SPECS.dump_json(spec).decode()


async def printed(runtime: ContainerRuntime, container_id: str) -> list[str]:
    return [line.text async for line in runtime.logs(container_id)]


async def runs_and_prints(runtime: ContainerRuntime, container_id: str, text: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in runtime.logs(container_id, LogQuery(follow=True)):
            if line.text == text:
                return
    raise AssertionError(f"it ended without printing {text!r}")


def supervisor_pid(world: ProcessWorld, container_id: str) -> int:
    record = ContainerDir(world.root / container_id).supervisor()
    assert record is not None
    return record.pid


def kill_and_wait(pid: int) -> None:
    """Returns when it is dead; it need not be our child."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    is_dead, _, _ = select.select([pidfd], [], [], DEADLINE_SECONDS)
    assert is_dead
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def own_zombies() -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    stats = {pid: stat_fields(pid) for pid in pids}
    own = str(os.getpid()).encode()
    return [pid for pid, stat in stats.items() if stat and stat[:2] == [b"Z", own]]


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_process, kill_group])
async def test_killed_agent_loses_no_exit_code_and_no_line(
    world: ProcessWorld, kill: Callable[[int], None]
) -> None:
    with agent_process(str(world.root), as_json(world.spec(ONE, COUNT))) as agent:
        assert agent.stdout is not None
        assert await asyncio.to_thread(agent.stdout.readline) == "created\n"
        kill(agent.pid)
    runtime = await world.open()
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, await printed(runtime, ONE)) == (7, COUNTED)


async def test_agent_killed_in_the_middle_of_a_start_leaves_a_whole_container(
    world: ProcessWorld,
) -> None:
    with agent_process(str(world.root), "--die", as_json(world.spec(ONE, "run"))) as agent:
        await asyncio.to_thread(agent.wait)
    runtime = await world.open()
    assert [each.state for each in await runtime.list()] == [ContainerState.RUNNING]


async def test_killed_supervisor_is_replaced_and_no_line_is_lost(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    before = await runtime.create(world.spec(ONE, "wait"))
    await runs_and_prints(runtime, ONE, "one")
    killed = supervisor_pid(world, ONE)
    os.kill(killed, signal.SIGKILL)
    await until(runtime, ONE, lambda _status: supervisor_pid(world, ONE) != killed)
    await world.release(ONE)
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, status.reason) == (None, UNSEEN)
    assert status.started_at == before.started_at
    assert await printed(runtime, ONE) == ["one", "two"]


async def test_output_waits_for_the_next_supervisor(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    """More than the FIFO holds: the container is held up, not killed by SIGPIPE."""
    script = "echo one; until [ -e released ]; do sleep 0.02; done; seq 20000; touch done"
    await runtime.create(world.spec(ONE, script))
    await runs_and_prints(runtime, ONE, "one")
    await runtime.close()
    kill_and_wait(supervisor_pid(world, ONE))
    await world.release(ONE)
    again = await world.open()
    await until_exited(again, ONE)
    assert (world.root / ONE / "work" / "done").exists()
    lines = await printed(again, ONE)
    assert lines == [str(n) for n in range(20001 - len(lines), 20001)]


async def test_container_can_be_stopped_after_its_supervisor_was_killed(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    before = await runtime.create(world.spec(ONE, "be-deaf"))
    os.kill(supervisor_pid(world, ONE), signal.SIGKILL)
    assert await runtime.status(ONE) == before
    await runtime.stop(ONE, 0.1)
    assert world.left_over() == []


async def test_supervisor_killed_while_no_agent_was_there(world: ProcessWorld) -> None:
    runtime = await world.open()
    before = await runtime.create(world.spec(ONE, "run"))
    await runtime.close()
    kill_and_wait(supervisor_pid(world, ONE))
    again = await world.open()
    assert await again.list() == [before]
    await again.stop(ONE, DEADLINE_SECONDS)
    status = await until_exited(again, ONE)
    assert (status.exit_code, status.reason) == (None, UNSEEN)


async def test_all_killed_while_no_agent_was_there(world: ProcessWorld) -> None:
    runtime = await world.open()
    status = await runtime.create(world.spec(ONE, DAEMON + "exec sleep 1000"))
    await runtime.close()
    assert status.pid is not None
    kill_and_wait(supervisor_pid(world, ONE))
    kill_and_wait(status.pid)
    again = await world.open()
    ended = await until_exited(again, ONE)
    assert (ended.exit_code, ended.reason) == (None, UNSEEN)
    assert world.left_over() == []


async def test_requests_to_end_do_not_end_a_supervisor(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "wait"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(supervisor_pid(world, ONE), number)
    await world.release(ONE)
    assert (await until_exited(runtime, ONE)).exit_code == 0
    assert await printed(runtime, ONE) == ["one", "two"]


@pytest.mark.parametrize(("rest", "code"), [("exit 3", 3), ("exec sleep 1000", 143)])
async def test_daemons_die_with_their_container(
    world: ProcessWorld, runtime: ContainerRuntime, rest: str, code: int
) -> None:
    await runtime.create(world.spec(ONE, DAEMON + "echo up; " + rest))
    await runs_and_prints(runtime, ONE, "up")
    await runtime.stop(ONE, DEADLINE_SECONDS)
    status = await runtime.status(ONE)
    assert status is not None
    assert (status.exit_code, world.left_over()) == (code, [])


async def test_log_is_rotated_by_size_and_count(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "for n in $(seq 1000); do echo line $n; done"))
    await until_exited(runtime, ONE)
    files = list((world.root / ONE).glob("log.*"))
    assert len(files) == LIMITS.log_files
    assert all(file.stat().st_size <= LIMITS.log_bytes for file in files)
    lines = await printed(runtime, ONE)
    assert lines == [f"line {n}" for n in range(1001 - len(lines), 1001)]
    assert len(lines) > 60
    assert [line.text async for line in runtime.logs(ONE, LogQuery(tail=60))] == lines[-60:]


async def test_follower_reads_on_over_rotations(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    script = "for n in $(seq 100); do echo line $n; sleep 0.01; done"
    await runtime.create(world.spec(ONE, script))
    lines = [line.text async for line in runtime.logs(ONE, LogQuery(follow=True))]
    assert lines == [f"line {n}" for n in range(1, 101)]


async def test_any_bytes_are_logged(world: ProcessWorld, runtime: ContainerRuntime) -> None:
    script = r"printf 'a\n\nb\377\n'; head -c 1500 /dev/zero | tr '\0' x; printf 'end'"
    await runtime.create(world.spec(ONE, script))
    await until_exited(runtime, ONE)
    assert await printed(runtime, ONE) == ["a", "", "b\ufffd", "x" * 1500 + "end"]


async def test_hundred_containers_start_at_once(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    specs = [world.spec(f"default.web.{n}.1.main", "run") for n in range(100)]
    statuses = await asyncio.gather(*(runtime.create(spec) for spec in specs))
    assert {status.state for status in statuses} == {ContainerState.RUNNING}
    assert len({status.pid for status in statuses}) == 100


async def test_neither_handles_nor_processes_leak(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    before, zombies = sorted(os.listdir("/proc/self/fd")), own_zombies()
    for command in ("run", "exit-3", "missing"):
        spec = world.spec(ONE, command)
        try:
            await runtime.create(spec)
        except errors.RuntimeError:
            assert command == "missing"
        await runtime.stop(ONE, DEADLINE_SECONDS)
        await runtime.remove(ONE)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert [each.name for each in world.root.iterdir()] == [FOLDER]
    assert world.left_over() == []
    assert own_zombies() == zombies


@pytest.mark.parametrize("difference", ["start_ticks", "boot_id"])
async def test_stranger_with_the_same_pid_is_left_alone(
    world: ProcessWorld, difference: str
) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:  # noqa: ASYNC220
        try:
            _leave_remains(world, stranger.pid, difference)
            runtime = await world.open()
            assert (await until_exited(runtime, ONE)).reason == UNSEEN
            await runtime.stop(ONE, 0)
            await runtime.remove(ONE)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def _leave_remains(world: ProcessWorld, pid: int, difference: str) -> None:
    """What a node has on disk when a container and its supervisor were killed long ago."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ticks = start_ticks(pid)
    if difference == "boot_id":
        boot_id = str(uuid.uuid4())
    else:
        ticks -= 1
    world.root.mkdir()
    ContainerDir(world.root / ONE).create(world.spec(ONE, "run"))
    record = f'{{"pid": {pid}, "start_ticks": {ticks}, "boot_id": "{boot_id}", "started_at": 1}}'
    for name in ("pid.json", "supervisor.json"):
        (world.root / ONE / name).write_text(record)


async def test_half_made_and_half_removed_containers_are_cleaned_away(world: ProcessWorld) -> None:
    world.root.mkdir()
    ContainerDir(world.root / ONE).create(world.spec(ONE, "run"))
    (world.root / "default.web.1.1.main").mkdir()
    (world.root / ".gone-123").mkdir()
    runtime = await world.open()
    assert await runtime.list() == []
    assert [each.name for each in world.root.iterdir()] == [FOLDER]


async def test_command_starts_with_no_signal_ignored_or_blocked(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "grep -E '^Sig(Ign|Blk)' /proc/self/status"))
    await until_exited(runtime, ONE)
    masks = [int(line.split()[1], 16) for line in await printed(runtime, ONE)]
    standard = 2**31 - 1  # above are the real-time ones, some of which are the C library's own
    assert [mask & standard for mask in masks] == [0, 0]


async def test_commands_get_directory_limits_and_little_else(
    world: ProcessWorld, runtime: ContainerRuntime, tmp_path: Path
) -> None:
    script = "pwd; ulimit -Sn; ulimit -v; ulimit -Hn; env | cut -d= -f1 | sort | tr '\n' ' '"
    spec = replace(
        world.spec(ONE, script),
        working_dir=str(tmp_path),
        limits=NodeResources(memory_mb=512),
        env={"PATH": os.environ["PATH"], "ORC_NODE": "n1"},
    )
    bare = ProcessRuntime(world.root, limits=LIMITS, environment={"TZ": "UTC"})
    await runtime.close()
    await bare.create(spec)
    await until_exited(bare, ONE)
    directory, soft, virtual, hard, names = await printed(bare, ONE)
    await bare.close()
    assert (directory, soft, virtual) == (str(tmp_path), "100", str(512_000_000 // 1024))
    assert int(hard) >= 100
    assert set(names.split()) == {"PATH", "ORC_NODE", "TZ", "ORC_CONTAINER_DIR", "PWD"}


@pytest.mark.parametrize(
    ("argv", "directory", "sentence"),
    [
        (("nowhere",), "", "'nowhere' is not found on the PATH of its node: install it there, or"),
        (("/nowhere/at/all",), "", "or the interpreter .* is not there: install it on the node"),
        (("./plain",), "here", "'./plain' is not executable: `chmod .x` it, or correct `command`"),
        (("./text",), "here", "'./text' is neither a program nor a script .*: correct it"),
        (
            ("sh",),
            "/nowhere",
            "'/nowhere' cannot be entered: No such file .*; create it on the node",
        ),
        (("sh", "a\0b"), "", "zero byte"),
        (("sh", "\ud800"), "", "half a character"),
        ((), "", "has no command"),
    ],
)
async def test_start_that_fails_says_why(
    world: ProcessWorld, argv: tuple[str, ...], directory: str, sentence: str
) -> None:
    runtime = await world.open()
    (world.root.parent / "plain").write_text("")
    (world.root.parent / "text").write_text("\0")
    (world.root.parent / "text").chmod(0o700)
    working_dir = str(world.root.parent) if directory == "here" else directory
    spec = replace(world.spec(ONE, "run"), argv=argv, working_dir=working_dir)
    with pytest.raises(errors.RuntimeError, match=sentence):
        await runtime.create(spec)


async def test_directory_that_cannot_be_made_is_told(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    too_long = replace(spec, id="x" * 300)
    with pytest.raises(errors.RuntimeError, match=r"cannot be started: .*File name too long"):
        await runtime.create(too_long)
    assert await runtime.list() == []
