"""What every `ContainerRuntime` lets be seen and done inside its containers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import pytest

from orchestrator.model import errors
from orchestrator.model.resources import NodeResources
from orchestrator.runtime.protocol import (
    ContainerRuntime,
    ExecRequest,
    LogQuery,
    NotExecuted,
    Streams,
)
from tests.support.containers import DEADLINE_SECONDS, World, until_exited

ONE = "default.web.0.1.main"
NEXT = "default.web.0.2.main"
OTHER = "default.web.1.1.main"
LONG_SECONDS = 60.0
KILLED = 128 + 9


async def everything(streams: Streams) -> tuple[dict[str, bytes], int | None]:
    """All of its output by stream, and its exit code. It is closed."""
    said: dict[str, bytes] = {}
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with aclosing(streams.output()) as output:
            async for stream, piece in output:
                said[stream] = said.get(stream, b"") + piece
        code = await streams.exit_code()
    await streams.close()
    return said, code


async def read_until(streams: Streams, said: bytes) -> None:
    heard = b""
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(streams.output()) as output:
        async for _, piece in output:
            heard += piece
            if said in heard:
                return
    raise AssertionError(f"it has ended after {heard!r}")


async def running(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "run"))


async def printed(runtime: ContainerRuntime, query: LogQuery) -> list[str]:
    return [line.text async for line in runtime.logs(ONE, query)]


async def test_exec_gives_the_output_and_the_exit_code(
    world: World, runtime: ContainerRuntime
) -> None:
    await running(world, runtime)
    streams = await runtime.exec(ONE, ExecRequest(world.argv("fail")))
    said, code = await everything(streams)
    assert code == 3
    assert said["stdout"] == b"on\n"
    assert said["stderr"].startswith(b"trying\n")


async def test_exec_has_the_containers_environment_under_its_own(
    world: World, runtime: ContainerRuntime
) -> None:
    await running(world, runtime)
    argv = world.argv("show-environment")
    said, _ = await everything(await runtime.exec(ONE, ExecRequest(argv)))
    assert said == {"stdout": b"good day\n"}
    asked = ExecRequest(argv, env={"GREETING": "good night"})
    said, _ = await everything(await runtime.exec(ONE, asked))
    assert said == {"stdout": b"good night\n"}


async def test_exec_reads_its_input_to_the_end(world: World, runtime: ContainerRuntime) -> None:
    await running(world, runtime)
    streams = await runtime.exec(ONE, ExecRequest(world.argv("copy"), stdin=True))
    await streams.write(b"one\n")
    await streams.write(b"two\n")
    await streams.end_input()
    assert await everything(streams) == ({"stdout": b"one\ntwo\n"}, 0)


async def test_command_that_is_not_there_cannot_be_executed(
    world: World, runtime: ContainerRuntime
) -> None:
    await running(world, runtime)
    with pytest.raises(NotExecuted, match="not found") as refused:
        await runtime.exec(ONE, ExecRequest(world.argv("missing")))
    assert refused.value.exit_code == 127


async def test_exec_takes_a_container_that_runs(world: World, runtime: ContainerRuntime) -> None:
    request = ExecRequest(world.argv("print"))
    with pytest.raises(errors.RuntimeError, match="no container"):
        await runtime.exec(ONE, request)
    await runtime.create(world.spec(ONE, "exit-0"))
    await until_exited(runtime, ONE)
    with pytest.raises(errors.RuntimeError, match="does not run"):
        await runtime.exec(ONE, request)
    with pytest.raises(errors.RuntimeError, match="does not run"):
        await runtime.attach(ONE)


async def test_exec_takes_a_command(world: World, runtime: ContainerRuntime) -> None:
    await running(world, runtime)
    with pytest.raises(errors.RuntimeError, match="no command"):
        await runtime.exec(ONE, ExecRequest(()))


@pytest.mark.parametrize("tty", [False, True])
async def test_closing_kills_what_was_executed(
    world: World, runtime: ContainerRuntime, tty: bool
) -> None:
    await running(world, runtime)
    streams = await runtime.exec(ONE, ExecRequest(world.argv("be-deaf"), tty=tty))
    await read_until(streams, b"deaf")
    await streams.close()
    assert await streams.exit_code() == KILLED


@pytest.mark.parametrize("tty", [False, True])
async def test_what_was_executed_ends_with_its_container(
    world: World, runtime: ContainerRuntime, tty: bool
) -> None:
    await running(world, runtime)
    streams = await runtime.exec(ONE, ExecRequest(world.argv("be-deaf"), tty=tty))
    await read_until(streams, b"deaf")
    await runtime.stop(ONE, LONG_SECONDS)
    assert (await everything(streams))[1] == KILLED


async def test_a_terminal_has_a_size_that_changes(world: World, runtime: ContainerRuntime) -> None:
    await running(world, runtime)
    request = ExecRequest(world.argv("show-size"), tty=True, rows=33, columns=77)
    streams = await runtime.exec(ONE, request)
    await read_until(streams, b"33 77\r\n")
    await streams.resize(44, 88)
    await read_until(streams, b"44 88\r\n")
    await streams.close()


async def test_without_a_terminal_a_size_changes_nothing(
    world: World, runtime: ContainerRuntime
) -> None:
    await running(world, runtime)
    streams = await runtime.exec(ONE, ExecRequest(world.argv("print")))
    await streams.resize(44, 88)
    said, code = await everything(streams)
    assert (len(said["stdout"].splitlines()), code) == (5, 0)


async def test_being_attached_shows_what_comes_and_the_end(
    world: World, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "wait"))
    async with aclosing(runtime.logs(ONE, LogQuery(follow=True))) as lines:
        assert (await anext(lines)).text == "one"
    streams = await runtime.attach(ONE)
    await world.release(ONE)
    assert await everything(streams) == ({"stdout": b"two\n"}, 0)


async def test_letting_go_of_what_one_is_attached_to_does_not_end_it(
    world: World, runtime: ContainerRuntime
) -> None:
    await running(world, runtime)
    before = await runtime.status(ONE)
    await (await runtime.attach(ONE)).close()
    assert await runtime.status(ONE) == before


async def test_usage_is_of_what_runs(world: World, runtime: ContainerRuntime) -> None:
    limits = NodeResources(memory_mb=4000)
    await runtime.create(replace(world.spec(ONE, "run"), limits=limits))
    await runtime.create(world.spec(OTHER, "exit-0"))
    await until_exited(runtime, OTHER)
    (usage,) = await runtime.usage()
    assert (usage.id, usage.instance, usage.container) == (ONE, ONE.removesuffix(".main"), "main")
    assert usage.memory_limit_mb == pytest.approx(4000, rel=0.01)
    assert 0 < usage.memory_mb < 4000
    assert usage.cpu_seconds >= 0


async def test_usage_of_time_only_grows(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "burn"))
    first = (await runtime.usage())[0].cpu_seconds
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (last := (await runtime.usage())[0].cpu_seconds) <= first:
            await asyncio.sleep(0.01)
    assert last > first


async def test_log_since_a_time_begins_there(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "wait"))
    async for line in runtime.logs(ONE, LogQuery(follow=True)):
        if line.text == "one":
            await world.release(ONE)
    last = [line.time async for line in runtime.logs(ONE)][-1]
    since = datetime.fromisoformat(last).timestamp()
    assert await printed(runtime, LogQuery(since=since)) == ["two"]
    assert await printed(runtime, LogQuery(since=since, tail=2)) == ["two"]
    assert await printed(runtime, LogQuery(since=since, follow=True)) == ["two"]
    assert await printed(runtime, LogQuery(since=since + 1)) == []
    assert await printed(runtime, LogQuery(since=0)) == ["one", "two"]


async def test_log_of_what_was_removed_is_kept_until_the_next(
    world: World, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "print"))
    await until_exited(runtime, ONE)
    assert await runtime.kept_logs() == []
    await runtime.remove(ONE)
    assert await runtime.kept_logs() == [ONE]
    assert await printed(runtime, LogQuery(follow=True)) == [f"line {n}" for n in range(5)]
    await runtime.create(world.spec(NEXT, "exit-0"))
    await runtime.create(world.spec(OTHER, "exit-0"))
    again = await world.open()
    assert await again.kept_logs() == [ONE]
    assert await printed(again, LogQuery(tail=1)) == ["line 4"]
    for container_id in (NEXT, OTHER):
        await again.remove(container_id)
    assert await again.kept_logs() == [NEXT, OTHER]
    with pytest.raises(errors.RuntimeError, match="no container"):
        again.logs(ONE)
