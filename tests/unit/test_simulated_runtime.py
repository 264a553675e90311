"""What a simulation can make a node do."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from dataclasses import replace
from math import inf

import pytest

from orchestrator.model import errors
from orchestrator.runtime.outcome import UNSEEN
from orchestrator.runtime.protocol import ContainerSpec, ContainerState
from orchestrator.runtime.simulated import SimulatedRuntime
from orchestrator.runtime.simulated_host import Program, SimulatedHost
from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now

ONE = "default.web.0.1.main"


def spec(container_id: str = ONE) -> ContainerSpec:
    instance, _, container = container_id.rpartition(".")
    return ContainerSpec(container_id, instance, container, assignment=1, argv=("web",))


def host(program: Program | None = None) -> SimulatedHost:
    return SimulatedHost(virtual_now, random.Random(1), programs={"web": program or Program()})


async def is_stuck(waiting: asyncio.Task[None]) -> bool:
    await asyncio.sleep(3600)
    return not waiting.done()


@in_virtual_time
async def test_same_luck_gives_the_same_times() -> None:
    starts = []
    for _ in range(2):
        begun = virtual_now()
        runtime = SimulatedRuntime(host())
        for number in range(3):
            await runtime.create(spec(f"default.web.{number}.1.main"))
        starts.append(virtual_now() - begun)
    assert starts[0] == pytest.approx(starts[1])
    assert starts[0] > 0


@in_virtual_time
async def test_program_runs_its_time() -> None:
    runtime = SimulatedRuntime(host(Program(runs_seconds=60, exit_code=3)))
    status = await runtime.create(spec())
    await asyncio.sleep(61)
    ended = await runtime.status(ONE)
    assert ended is not None
    assert status.started_at is not None
    assert ended.finished_at == status.started_at + 60
    assert ended.exit_code == 3


@in_virtual_time
async def test_crash_is_told_to_the_newest_agent_only() -> None:
    machine = host()
    woken: list[str] = []
    for name in ("old", "new"):
        runtime = SimulatedRuntime(machine)
        runtime.on_change(lambda name=name: woken.append(name))  # type: ignore[misc]
        await runtime.init_node()
    await runtime.create(spec())
    woken.clear()
    machine.crash(ONE, 5)
    status = await runtime.status(ONE)
    assert status is not None
    assert (status.exit_code, woken) == (5, ["new"])


@in_virtual_time
async def test_start_that_fails_says_why() -> None:
    runtime = SimulatedRuntime(host(Program(start_error="the disk is full")))
    with pytest.raises(errors.RuntimeError, match="the disk is full"):
        await runtime.create(spec())


@in_virtual_time
async def test_hanging_start_and_hanging_stop_hang() -> None:
    for program in (Program(start_seconds=inf), Program(is_unkillable=True)):
        runtime = SimulatedRuntime(host(program))

        async def create_and_stop(runtime: SimulatedRuntime = runtime) -> None:
            await runtime.create(spec())
            await runtime.stop(ONE, 1)

        hanging = asyncio.create_task(create_and_stop())
        assert await is_stuck(hanging)
        hanging.cancel()


@in_virtual_time
async def test_stop_all_gives_nobody_more_than_its_own_grace() -> None:
    runtime = SimulatedRuntime(host(Program(ignores_sigterm=True)))
    other = "default.web.1.1.main"
    await runtime.create(replace(spec(), stop_grace_seconds=0.5))
    await runtime.create(replace(spec(other), stop_grace_seconds=3600))
    begun = virtual_now()
    await runtime.stop_all(60)
    ends = {each.spec.id: each.finished_at for each in await runtime.list()}
    assert ends == {ONE: begun + 0.5, other: begun + 60}


@in_virtual_time
async def test_exit_code_can_get_lost() -> None:
    machine = host(Program(loses_exit_code=True))
    runtime = SimulatedRuntime(machine)
    await runtime.create(spec())
    machine.crash(ONE, 0)
    status = await runtime.status(ONE)
    assert status is not None
    assert (status.exit_code, status.reason) == (None, UNSEEN)


@in_virtual_time
async def test_reboot_ends_all_and_forgets_what_was_starting() -> None:
    machine = host()
    runtime = SimulatedRuntime(machine)
    await runtime.create(spec())
    starting = asyncio.create_task(runtime.create(spec("default.web.1.1.main")))
    await asyncio.sleep(0)
    machine.reboot()
    assert [(each.state, each.exit_code) for each in await runtime.list()] == [
        (ContainerState.EXITED, None)
    ]
    starting.cancel()


@in_virtual_time
async def test_containers_do_not_share_the_context_of_their_agent() -> None:
    frozen: ContextVar[bool] = ContextVar("frozen", default=False)
    seen: list[bool] = []
    machine = host(Program(output=lambda _spec: seen.append(frozen.get()) or ()))  # type: ignore[func-returns-value]
    frozen.set(True)
    await SimulatedRuntime(machine).create(spec())
    assert seen == [False]
