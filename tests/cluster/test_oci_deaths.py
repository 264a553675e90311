"""Containers made of images that outlive their agent: what is killed here is really killed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.runtime.oci.runtime import RUN
from orchestrator.runtime.oci.verdict import UNSEEN
from orchestrator.runtime.protocol import ContainerState
from tests.support.containers import DEADLINE_SECONDS, until, until_exited
from tests.support.oci import OciWorld, kill_and_wait, printed, until_printed
from tests.support.oci_agent_process import SPECS

ONE = "default.web.0.1.main"
COUNT = "n=0; while [ $n -lt 60 ]; do echo line $n; n=$((n+1)); sleep 0.01; done; exit 7"
COUNTED = [f"line {n}" for n in range(60)]
KILLED = "ended by SIGKILL (exit code 137)"
"""The kernel tells as long as nobody has reaped it."""

DEADLY = """\
#!/bin/sh
for word; do [ ! -e "${{0%/*}}/$word" ] || exec kill -9 $PPID; done
exec {runtime} "$@"
"""
"""A runtime: who calls it dies of a word that there is a file of, and nothing is done."""

LATEST_DEATH_SECONDS = 0.4
"""A start takes about a tenth of that, on a quiet machine."""


@contextmanager
def agent_process(world: OciWorld, *specs: str) -> Iterator[subprocess.Popen[str]]:
    own = (str(world.directory), world.name, world.terms.runtime, str(world.terms.log_bytes))
    command = [sys.executable, "-m", "tests.support.oci_agent_process", *own, *specs]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as agent:
        try:
            yield agent
        finally:
            agent.kill()


def as_json(world: OciWorld, container_id: str, command: str) -> str:
    return SPECS.dump_json(world.spec(container_id, command)).decode()


def conmon_pid(world: OciWorld, container_id: str) -> int:
    record = world.place(container_id).supervisor()
    assert record is not None
    return record.pid


def kill_process(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_process, kill_group])
async def test_killed_agent_loses_no_exit_code_and_no_line(
    oci_world: OciWorld, kill: Callable[[int], None]
) -> None:
    with agent_process(oci_world, as_json(oci_world, ONE, COUNT)) as agent:
        assert agent.stdout is not None
        assert await asyncio.to_thread(agent.stdout.readline) == "created\n"
        kill(agent.pid)
    runtime = await oci_world.open()
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, await printed(runtime, ONE)) == (7, COUNTED)


async def test_exit_without_an_agent_is_told_with_its_time(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    started = await runtime.create(oci_world.spec(ONE, "wait"))
    await runtime.close()
    monitor = os.pidfd_open(conmon_pid(oci_world, ONE))
    await oci_world.release(ONE)
    await asyncio.to_thread(kill_and_wait, monitor, 0)
    again = await oci_world.open()
    (status,) = await again.list()
    assert (status.exit_code, status.started_at) == (0, started.started_at)
    assert await (await oci_world.open()).list() == [status]


async def test_killed_conmon_ends_nothing_but_the_log(oci_world: OciWorld) -> None:
    """Where the kernel keeps the exit code for us (6.15), even that is not lost."""
    runtime = await oci_world.open()
    script = "trap 'exit 33' USR1; echo one; while :; do sleep 0.02; done"
    before = await runtime.create(oci_world.spec(ONE, script))
    await until_printed(runtime, ONE, "one")
    await asyncio.to_thread(kill_and_wait, os.pidfd_open(conmon_pid(oci_world, ONE)))
    assert before.pid is not None
    assert await runtime.status(ONE) == before
    os.kill(before.pid, signal.SIGUSR1)
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, status.reason) in ((33, ""), (None, UNSEEN))
    assert await printed(runtime, ONE) == ["one"]


async def test_container_can_be_stopped_after_its_conmon_was_killed(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    await runtime.create(oci_world.spec(ONE, "be-deaf"))
    await asyncio.to_thread(kill_and_wait, os.pidfd_open(conmon_pid(oci_world, ONE)))
    await runtime.stop(ONE, 0.1)
    assert oci_world.left_over() == []


async def test_all_killed_while_no_agent_was_there(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    status = await runtime.create(oci_world.spec(ONE, "run"))
    await runtime.close()
    assert status.pid is not None
    for pid in (conmon_pid(oci_world, ONE), status.pid):
        await asyncio.to_thread(kill_and_wait, os.pidfd_open(pid))
    again = await oci_world.open()
    ended = await until_exited(again, ONE)
    assert (ended.exit_code, ended.reason) in ((None, UNSEEN), (137, KILLED))
    assert oci_world.left_over() == []


async def test_after_a_reboot_it_is_seen_to_have_ended_and_its_log_is_there(
    oci_world: OciWorld,
) -> None:
    runtime = await oci_world.open()
    status = await runtime.create(oci_world.shell(ONE, "echo one; exec sleep 1000"))
    await until_printed(runtime, ONE, "one")
    await runtime.close()
    assert status.pid is not None
    for pid in (conmon_pid(oci_world, ONE), status.pid):
        await asyncio.to_thread(kill_and_wait, os.pidfd_open(pid))
    for name in (RUN, Path(oci_world.terms.runtime).name):  # what is below /run is lost
        shutil.rmtree(oci_world.run_dir / name)
    again = await oci_world.open()
    ended = await until_exited(again, ONE)
    assert (ended.exit_code, ended.reason) in ((None, UNSEEN), (137, KILLED))
    assert await printed(again, ONE) == ["one"]
    assert not (oci_world.root / ONE / "upper").exists()
    assert oci_world.left_over() == []


async def test_container_that_was_only_created_is_cleaned_away(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    await runtime.create(oci_world.spec(ONE, "run"))
    await runtime.close()
    (oci_world.root / ONE / "pid.json").unlink()
    (oci_world.root / "default.web.1.1.main").mkdir()
    again = await oci_world.open()
    assert await again.list() == []
    assert oci_world.left_over() == []


async def test_agent_killed_while_it_clears_such_a_one_away_does_not_take_it_for_one_that_ran(
    oci_world: OciWorld,
) -> None:
    script = oci_world.directory / "runtime"
    script.write_text(DEADLY.format(runtime=shutil.which(oci_world.terms.runtime)))
    script.chmod(0o755)
    installed, oci_world.terms = oci_world.terms, replace(oci_world.terms, runtime=str(script))
    for word, specs in (("start", [as_json(oci_world, ONE, "run")]), ("delete", [])):
        (oci_world.directory / word).touch()
        with agent_process(oci_world, *specs) as agent:
            assert await asyncio.to_thread(agent.wait) == -signal.SIGKILL
        (oci_world.directory / word).unlink()
    oci_world.terms = installed
    runtime = await oci_world.open()
    assert await runtime.list() == []
    assert oci_world.left_over() == []


async def test_agent_killed_at_any_moment_of_a_start_leaves_a_container_or_nothing(
    oci_world: OciWorld,
) -> None:
    rng = random.Random(7)
    ids = [f"default.web.{n}.1.main" for n in range(4)]
    for _ in range(5):
        specs = [as_json(oci_world, each, "run") for each in ids]
        delay = str(rng.uniform(0, LATEST_DEATH_SECONDS))
        with agent_process(oci_world, "--die", delay, *specs) as agent:
            await asyncio.to_thread(agent.wait)
        runtime = await oci_world.open()
        statuses = await runtime.list()
        assert {each.state for each in statuses} <= {ContainerState.RUNNING}
        for status in statuses:
            await runtime.remove(status.spec.id)
        assert oci_world.left_over() == []


async def test_runtime_that_disappears_stops_nothing(oci_world: OciWorld) -> None:
    runtime = await oci_world.open_with_own_program()
    before = await runtime.create(oci_world.spec(ONE, "run"))
    assert runtime.problem() == ""
    oci_world.program.unlink()
    assert runtime.problem().startswith(f"{oci_world.program} has disappeared from the node")
    with pytest.raises(errors.RuntimeError, match=r"disappeared|could not start it"):
        await runtime.create(oci_world.spec("default.web.1.1.main", "run"))
    assert await runtime.status(ONE) == before
    await runtime.stop(ONE, DEADLINE_SECONDS)
    await until(runtime, ONE, lambda status: status.state is ContainerState.EXITED)
    await runtime.remove("default.web.1.1.main")
    assert oci_world.left_over() == []


async def test_start_is_given_up_when_nobody_wants_it_any_more(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    creating = asyncio.create_task(runtime.create(oci_world.spec(ONE, "run")))
    await asyncio.sleep(0)
    await runtime.remove(ONE)
    with pytest.raises(errors.RuntimeError, match="stopped before"):
        await creating
    assert await runtime.list() == []
    assert oci_world.left_over() == []


async def test_neither_handles_nor_anything_else_leaks(
    oci_world: OciWorld,
) -> None:
    runtime = await oci_world.open()
    before = sorted(os.listdir("/proc/self/fd"))
    for command in ("run", "exit-3", "missing"):
        spec = oci_world.spec(ONE, command)
        try:
            await runtime.create(spec)
        except errors.RuntimeError:
            assert command == "missing"
        await runtime.stop(ONE, DEADLINE_SECONDS)
        await runtime.remove(ONE)
        assert oci_world.left_over() == []
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert [path.name for path in oci_world.root.iterdir()] == [".previous"]


async def test_long_names_in_deep_directories(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    name = f"{'n' * 60}.{'w' * 80}.0.1.{'c' * 50}"
    spec = oci_world.spec(name, "read line; echo $line; exit 5")
    assert spec.isolation is not None
    config = replace(spec.isolation.config, stdin=True)
    await runtime.create(replace(spec, isolation=replace(spec.isolation, config=config)))
    streams = await runtime.attach(name)
    await streams.write(b"hello\n")
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for piece in streams.output():
            assert piece == ("stdout", b"hello\n")
            break
    assert await streams.exit_code() == 5
    await streams.close()
