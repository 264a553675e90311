"""The watchdog as a process: it stops in time what it must, nothing else, and needs no agent."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.process.clock import boottime
from orchestrator.runtime.oci.runtime import OciRuntime
from orchestrator.runtime.process import ProcessRuntime
from orchestrator.runtime.protocol import ContainerSpec, ContainerState
from orchestrator.runtime.watchdog.state import LONG_AGO, TRUST_FILE
from orchestrator.runtime.watchdog_process import WatchdogProcess
from orchestrator.runtime.watching import Trace, Ward
from tests.support.containers import until_exited
from tests.support.oci import OciWorld
from tests.support.orc_process import argv_of, end_all_of, processes_of

SLEEPS = "exec sleep 1000"
DEAF = "trap '' TERM; while :; do sleep 0.05; done"
MAX_RSS_BYTES = 15_000_000
FAR = 1000.0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_all_of(tmp_path)


@pytest.fixture
async def runtime(directory: Path) -> AsyncIterator[ProcessRuntime]:
    runtime = ProcessRuntime(directory / "containers")
    await runtime.init_node()
    yield runtime
    await runtime.close()


def spec(text: str, name: str = "web") -> ContainerSpec:
    instance = f"default.{name}.0.1"
    return ContainerSpec(f"{instance}.app", instance, "app", 7, ("sh", "-c", text))


def ward(
    runtime: ProcessRuntime, each: ContainerSpec, after: float = 0.0, grace: float = 1.0
) -> Ward:
    return Ward(each.id, runtime.trace(each), after, grace)


async def state_of(runtime: ProcessRuntime, each: ContainerSpec) -> ContainerState:
    status = await runtime.status(each.id)
    assert status is not None
    return status.state


async def ends(runtime: ProcessRuntime, each: ContainerSpec) -> None:
    deadline = time.monotonic() + 30
    while await state_of(runtime, each) is not ContainerState.EXITED:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def program_of(directory: Path) -> psutil.Process:
    (found,) = [
        each
        for each in processes_of(directory)
        if any(part.endswith("/runtime/watch.py") for part in argv_of(each))
    ]
    return found


async def at_work(directory: Path, *wards: Ward, trusted_seconds: float) -> WatchdogProcess:
    watchdog = WatchdogProcess(directory / "watchdog")
    watchdog.trust_until(boottime() + trusted_seconds)
    await watchdog.guard(wards)
    await watchdog.tend()
    assert watchdog.is_at_work()
    return watchdog


async def test_it_stops_what_it_must_at_its_time_and_leaves_the_others(
    directory: Path, runtime: ProcessRuntime
) -> None:
    soon, later, never = spec(SLEEPS, "soon"), spec(SLEEPS, "later"), spec(SLEEPS, "never")
    for each in (soon, later, never):
        await runtime.create(each)
    await at_work(
        directory,
        ward(runtime, soon, after=1.0),
        ward(runtime, later, after=FAR),
        trusted_seconds=0.0,
    )
    await ends(runtime, soon)
    status = await runtime.status(soon.id)
    assert status
    assert status.exit_code == 128 + signal.SIGTERM
    assert await state_of(runtime, later) is ContainerState.RUNNING
    assert await state_of(runtime, never) is ContainerState.RUNNING


async def test_what_does_not_hear_is_killed_after_its_grace_and_all_that_belongs_to_it(
    directory: Path, runtime: ProcessRuntime
) -> None:
    strays = directory / "strays"
    daemon = f"setsid sleep 1000 & echo $! > {strays}; {DEAF}"
    deaf = spec(daemon)
    await runtime.create(deaf)
    while not strays.exists() or not strays.read_text():
        await asyncio.sleep(0.02)
    await at_work(directory, ward(runtime, deaf, grace=0.5), trusted_seconds=0.0)
    await ends(runtime, deaf)
    status = await runtime.status(deaf.id)
    assert status
    assert status.exit_code == 128 + signal.SIGKILL
    assert not psutil.pid_exists(int(strays.read_text()))


async def test_it_needs_no_supervisor_that_works(directory: Path, runtime: ProcessRuntime) -> None:
    deaf = spec(DEAF)
    status = await runtime.create(deaf)
    assert status.pid
    supervisor = psutil.Process(status.pid).parent()
    assert supervisor
    supervisor.suspend()
    await at_work(directory, ward(runtime, deaf, grace=0.2), trusted_seconds=0.0)
    process = psutil.Process(status.pid)
    deadline = time.monotonic() + 30
    while process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    supervisor.resume()
    await ends(runtime, deaf)


async def test_a_session_that_goes_on_keeps_it_and_what_starts_too_late_is_stopped(
    directory: Path, runtime: ProcessRuntime
) -> None:
    early, late = spec(SLEEPS, "early"), spec(SLEEPS, "late")
    await runtime.create(early)
    wards = [ward(runtime, early, after=1.5), ward(runtime, late, after=1.5)]
    watchdog = await at_work(directory, *wards, trusted_seconds=0.0)
    for _ in range(20):
        watchdog.trust_until(boottime())
        await asyncio.sleep(0.1)
    assert await state_of(runtime, early) is ContainerState.RUNNING
    await ends(runtime, early)
    await runtime.create(late)
    await ends(runtime, late)


async def test_it_is_small_and_ends_neither_with_its_agent_nor_when_asked(
    directory: Path, runtime: ProcessRuntime
) -> None:
    kept = spec(SLEEPS)
    await runtime.create(kept)
    watchdog = await at_work(directory, ward(runtime, kept, after=FAR), trusted_seconds=FAR)
    process = program_of(directory)
    assert process.memory_info().rss < MAX_RSS_BYTES
    assert os.getsid(process.pid) == process.pid
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    another = WatchdogProcess(directory / "watchdog")
    assert another.trusted_until == pytest.approx(watchdog.trusted_until, abs=1e-6)
    assert [each.container_id for each in another.wards()] == [kept.id]
    await another.tend()
    assert program_of(directory).pid == process.pid
    process.kill()
    process.wait(10)
    while another.is_at_work():
        await asyncio.sleep(0.05)
    await another.tend()
    assert another.is_at_work()
    assert program_of(directory).pid != process.pid
    assert await state_of(runtime, kept) is ContainerState.RUNNING


async def test_what_an_earlier_boot_has_trusted_is_not_trusted(directory: Path) -> None:
    first = WatchdogProcess(directory / "watchdog")
    first.trust_until(boottime() + FAR)
    await first.guard([])
    file = directory / "watchdog" / TRUST_FILE
    numbers = bytearray(file.read_bytes())
    numbers[16:24] = bytes(8)
    file.write_bytes(numbers)
    second = WatchdogProcess(directory / "watchdog")
    assert second.trusted_until == LONG_AGO / 1e9


async def test_a_stranger_with_the_same_pid_is_not_touched(
    directory: Path, runtime: ProcessRuntime
) -> None:
    each = spec(SLEEPS)
    status = await runtime.create(each)
    await asyncio.sleep(2 / os.sysconf("SC_CLK_TCK"))  # starts are told apart by the tick
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    pid_file = Path(runtime.trace(each).directory) / "pid.json"
    pid_file.write_text(pid_file.read_text().replace(str(status.pid), str(stranger.pid), 1))
    await at_work(directory, ward(runtime, each, grace=0.0), trusted_seconds=0.0)
    await ends(runtime, each)  # found by what its environment says
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


@pytest.mark.parametrize("script", ["trap 'exit 3' TERM; while :; do sleep 0.05; done", DEAF])
async def test_a_container_of_an_image_is_stopped_with_all_that_runs_in_it(
    oci_world: OciWorld, directory: Path, script: str
) -> None:
    runtime = await oci_world.open()
    assert isinstance(runtime, OciRuntime)
    each = oci_world.spec("default.web.0.1.main", f"sleep 1000 & {script}")
    await runtime.create(each)
    trace = runtime.trace(each)
    while len(pids_in(trace)) < 2:
        await asyncio.sleep(0.02)
    last = Ward(each.id, trace, after_seconds=0.5, grace_seconds=1.0)
    watchdog = await at_work(directory, last, trusted_seconds=0.0)
    await until_exited(runtime, each.id)
    status = await runtime.status(each.id)
    assert status
    assert status.exit_code == (128 + signal.SIGKILL if script == DEAF else 3)
    assert pids_in(trace) == []
    await watchdog.guard([])
    program = program_of(directory)
    program.kill()
    program.wait(10)


def pids_in(trace: Trace) -> list[str]:
    try:
        return (Path(trace.cgroup) / "cgroup.procs").read_text().split()
    except FileNotFoundError:
        return []
