"""Commands beside a container's own, as processes: who is killed when, and what is left."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.model.resources import NodeResources
from orchestrator.runtime.protocol import ContainerRuntime, ExecRequest, NotExecuted, Streams
from tests.cluster.test_process_runtime import agent_process, as_json, own_zombies
from tests.support.containers import DEADLINE_SECONDS, ProcessWorld

ONE = "default.web.0.1.main"
MUCH_BYTES = 20_000_000

LEAVES = "setsid sh -c 'echo here; exec sleep 1000' >left 2>&1 </dev/null & "
"""Somebody in a session of their own, who holds nothing that is ours."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProcessWorld]:
    made = ProcessWorld(tmp_path / "containers", str(uuid.uuid4()))
    yield made
    await made.aclose()


@pytest.fixture
async def runtime(world: ProcessWorld) -> ContainerRuntime:
    runtime = await world.open()
    await runtime.create(world.spec(ONE, "run"))
    return runtime


def shell(script: str, **more: object) -> ExecRequest:
    return ExecRequest(("sh", "-c", script), **more)  # type: ignore[arg-type]


async def output_of(streams: Streams) -> bytes:
    said = b""
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(streams.output()) as output:
        async for _, piece in output:
            said += piece
    return said


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await asyncio.sleep(0.02)


def sleepers(world: ProcessWorld) -> list[str]:
    """All but the container's own and its supervisor."""
    return [each for each in world.left_over() if each.strip() == "sleep 1000"]


async def left_behind(world: ProcessWorld, runtime: ContainerRuntime) -> None:
    streams = await runtime.exec(ONE, shell(LEAVES + "until [ -s left ]; do sleep 0.01; done"))
    assert await output_of(streams) == b""
    assert await streams.exit_code() == 0
    await streams.close()
    assert len(sleepers(world)) == 2


async def test_what_a_command_leaves_behind_ends_with_the_container(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await left_behind(world, runtime)
    await runtime.stop(ONE, DEADLINE_SECONDS)
    assert world.left_over() == []


async def test_it_ends_with_the_container_when_no_agent_is_there_too(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await left_behind(world, runtime)
    status = await runtime.status(ONE)
    assert status is not None
    assert status.pid is not None
    await runtime.close()
    os.kill(status.pid, 9)
    await until(lambda: world.left_over() == [])


async def test_closing_kills_all_that_the_command_has_started(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    streams = await runtime.exec(ONE, shell(LEAVES + "exec sleep 1000"))
    await until(lambda: len(sleepers(world)) == 3)
    await streams.close()
    assert len(sleepers(world)) == 1


async def test_a_command_dies_with_its_agent(world: ProcessWorld) -> None:
    spec = as_json(world.spec(ONE, "run"))
    with agent_process(str(world.root), "--exec", "exec sleep 1000", spec) as agent:
        assert agent.stdout is not None
        assert await asyncio.to_thread(agent.stdout.readline) == "created\n"
        await until(lambda: len(sleepers(world)) == 2)
        agent.kill()
        await until(lambda: len(sleepers(world)) == 1)


async def test_large_output_comes_whole(world: ProcessWorld, runtime: ContainerRuntime) -> None:
    script = f"head -c {MUCH_BYTES} /dev/zero; echo end"
    streams = await runtime.exec(ONE, shell(script))
    said = await output_of(streams)
    assert (len(said), said[-4:]) == (MUCH_BYTES + 4, b"end\n")
    await streams.close()


async def test_output_ends_with_the_command_whoever_else_holds_it(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    streams = await runtime.exec(ONE, shell("setsid sleep 1000 & echo done"))
    assert await output_of(streams) == b"done\n"
    await streams.close()


async def test_input_that_is_not_read_is_dropped_at_the_end(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    streams = await runtime.exec(ONE, shell("read line; echo $line", stdin=True))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await streams.write(b"first\n")
        await streams.write(b"x" * MUCH_BYTES)
        await streams.end_input()
    assert await output_of(streams) == b"first\n"
    await streams.close()


async def test_a_command_has_the_limits_and_the_directory_of_its_container(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    other = "default.web.1.1.main"
    limits = NodeResources(memory_mb=512)
    await runtime.create(replace(world.spec(other, "run"), limits=limits))
    streams = await runtime.exec(other, shell("ulimit -v; pwd"))
    assert await output_of(streams) == b"500000\n%s\n" % bytes(world.root / other / "work")
    await streams.close()
    streams = await runtime.exec(other, shell("pwd", working_dir="/"))
    assert await output_of(streams) == b"/\n"
    await streams.close()


@pytest.mark.parametrize("tty", [False, True])
async def test_a_terminal_is_there_if_it_is_asked_for(
    world: ProcessWorld, runtime: ContainerRuntime, tty: bool
) -> None:
    script = "for fd in 0 1 2; do [ -t $fd ] && echo $fd; done; tty >/dev/null; echo $TERM."
    streams = await runtime.exec(ONE, shell(script, tty=tty))
    said = await output_of(streams)
    assert said == (b"0\r\n1\r\n2\r\nxterm.\r\n" if tty else b".\n")
    await streams.close()


async def test_keys_are_signals_to_a_program_on_a_terminal(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    streams = await runtime.exec(ONE, shell("echo ready; exec sleep 1000", tty=True, stdin=True))
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(streams.output()) as output:
        assert await anext(output) == ("stdout", b"ready\r\n")
        await streams.write(b"\x03")
        assert await streams.exit_code() == 128 + 2
    await streams.close()


@pytest.mark.parametrize(
    ("argv", "more", "code", "told"),
    [
        (("/etc/passwd",), {}, 126, "command '/etc/passwd' is not executable"),
        (("/no/such",), {}, 127, "command '/no/such', or the interpreter named"),
        (("true",), {"working_dir": "/no/such"}, 126, "its working directory '/no/such' cannot be"),
    ],
)
async def test_why_a_command_cannot_be_executed_is_told(
    runtime: ContainerRuntime,
    argv: tuple[str, ...],
    more: dict[str, str],
    code: int,
    told: str,
) -> None:
    with pytest.raises(NotExecuted) as refused:
        await runtime.exec(ONE, ExecRequest(argv, **more))  # type: ignore[arg-type]
    assert refused.value.exit_code == code
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (ExecRequest(("id",), user="nobody"), "has its agent's user: leave out the user 'nobody'"),
        (ExecRequest(("echo", "a\0b")), "has a zero byte"),
        (ExecRequest(("env",), env={"A=B": "c"}), "without a name or with '=' in it"),
    ],
)
async def test_what_no_process_can_have_is_refused(
    runtime: ContainerRuntime, request_: ExecRequest, told: str
) -> None:
    with pytest.raises(errors.RuntimeError, match=told):
        await runtime.exec(ONE, request_)


async def test_neither_handles_nor_zombies_leak(
    world: ProcessWorld, runtime: ContainerRuntime
) -> None:
    await (await runtime.exec(ONE, shell("true"))).close()  # which opens what stays open
    before, zombies = sorted(os.listdir("/proc/self/fd")), own_zombies()
    for tty in (False, True):
        for script in ("true", "exec sleep 1000", "echo text"):
            streams = await runtime.exec(ONE, shell(script, tty=tty, stdin=True))
            await streams.close()
        with pytest.raises(NotExecuted):
            await runtime.exec(ONE, ExecRequest(("/no/such",), tty=tty))
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert own_zombies() == zombies
