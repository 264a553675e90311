"""What every `ContainerRuntime` does, whatever runs the containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from orchestrator.model import errors
from orchestrator.runtime.protocol import ContainerRuntime, ContainerState, LogLine, LogQuery
from tests.support.containers import World, until_exited

LONG_SECONDS = 60.0
ONE = "default.web.0.1.main"
OTHER = "default.web.1.1.main"


async def first(lines: AsyncIterator[LogLine]) -> LogLine:
    async for line in lines:
        return line
    raise AssertionError("the log has ended")


async def printed(runtime: ContainerRuntime, container_id: str) -> list[str]:
    return [line.text async for line in runtime.logs(container_id)]


async def test_created_container_runs_as_its_spec_says(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    status = await runtime.create(spec)
    assert (status.state, status.spec, status.exit_code) == (ContainerState.RUNNING, spec, None)
    assert status.pid is not None
    assert status.started_at is not None
    assert await runtime.status(ONE) == status


async def test_creating_the_same_again_answers_with_what_there_is(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    one, two = await asyncio.gather(runtime.create(spec), runtime.create(spec))
    assert one == two == await runtime.create(spec)
    assert await runtime.list() == [one]


async def test_creation_given_up_by_its_caller_goes_on(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    given_up = asyncio.create_task(runtime.create(spec))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert (await runtime.create(spec)).state is ContainerState.RUNNING


async def test_earlier_life_of_a_name_has_to_be_removed_first(
    world: World, runtime: ContainerRuntime
) -> None:
    earlier = await runtime.create(world.spec(ONE, "run", assignment=1))
    later = world.spec(ONE, "run", assignment=2)
    with pytest.raises(errors.RuntimeError, match="remove it first"):
        await runtime.create(later)
    await runtime.remove(ONE)
    status = await runtime.create(later)
    assert status.spec.assignment == 2
    assert status.pid != earlier.pid


@pytest.mark.parametrize(
    ("command", "code"), [("exit-0", 0), ("exit-3", 3), ("kill-itself", 128 + 9)]
)
async def test_exit_code_is_kept(
    world: World, runtime: ContainerRuntime, command: str, code: int
) -> None:
    await runtime.create(world.spec(ONE, command))
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, status.pid) == (code, None)
    assert status.finished_at is not None
    assert status.started_at is not None
    assert status.finished_at >= status.started_at


@pytest.mark.parametrize(("command", "last_stderr"), [("fail", "failed"), ("complain", "")])
async def test_last_words_of_what_failed_are_kept(
    world: World, runtime: ContainerRuntime, command: str, last_stderr: str
) -> None:
    await runtime.create(world.spec(ONE, command))
    status = await until_exited(runtime, ONE)
    assert status.last_stderr == last_stderr
    assert await (await world.open()).list() == [status]


async def test_command_that_does_not_exist_is_refused_with_its_name(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "missing")
    for _ in range(2):
        with pytest.raises(errors.RuntimeError, match=rf"'{spec.argv[0]}' is not found"):
            await runtime.create(spec)
    status = await until_exited(runtime, ONE)
    assert (status.started_at, status.exit_code) == (None, None)
    assert "is not found" in status.reason
    await runtime.remove(ONE)
    assert await runtime.list() == []


async def test_container_without_command_is_refused(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    object.__setattr__(spec, "argv", ())
    with pytest.raises(errors.RuntimeError, match="no command"):
        await runtime.create(spec)
    assert await runtime.list() == []


async def test_stop_ends_it_by_sigterm(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "run"))
    await runtime.stop(ONE, LONG_SECONDS)
    status = await runtime.status(ONE)
    assert status is not None
    assert (status.state, status.exit_code) == (ContainerState.EXITED, 128 + 15)


async def test_stop_kills_what_is_deaf_after_the_grace(
    world: World, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "be-deaf"))
    async with aclosing(runtime.logs(ONE, LogQuery(follow=True))) as lines:
        assert (await first(lines)).text == "deaf"
    await runtime.stop(ONE, 0.1)
    status = await runtime.status(ONE)
    assert status is not None
    assert (status.state, status.exit_code) == (ContainerState.EXITED, 128 + 9)
    assert status.outlived_grace
    assert status.reason == "it did not end within 0.1 s of being told to, and was killed"


async def test_stop_may_be_repeated(world: World, runtime: ContainerRuntime) -> None:
    await runtime.stop("nobody.knows.0.1.me", LONG_SECONDS)
    await runtime.create(world.spec(ONE, "run"))
    await asyncio.gather(*(runtime.stop(ONE, LONG_SECONDS) for _ in range(3)))
    status = await runtime.status(ONE)
    await runtime.stop(ONE, LONG_SECONDS)
    assert await runtime.status(ONE) == status


async def test_stopped_container_is_not_started_by_creating_it_again(
    world: World, runtime: ContainerRuntime
) -> None:
    spec = world.spec(ONE, "run")
    await runtime.create(spec)
    await runtime.stop(ONE, LONG_SECONDS)
    assert (await runtime.create(spec)).state is ContainerState.EXITED


async def test_remove_kills_and_forgets_all_but_the_log(
    world: World, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "be-deaf"))
    await asyncio.gather(runtime.remove(ONE), runtime.remove(ONE))
    assert await runtime.status(ONE) is None
    assert await runtime.list() == []
    await runtime.remove(ONE)
    with pytest.raises(errors.RuntimeError, match="no container"):
        runtime.logs(OTHER)
    assert await (await world.open()).list() == []


async def test_list_is_in_order_of_ids(world: World, runtime: ContainerRuntime) -> None:
    for container_id in (OTHER, ONE):
        await runtime.create(world.spec(container_id, "run"))
    assert [status.spec.id for status in await runtime.list()] == [ONE, OTHER]


async def test_restarted_agent_finds_what_runs_and_what_has_ended(
    world: World, runtime: ContainerRuntime
) -> None:
    running = await runtime.create(world.spec(ONE, "run"))
    await runtime.create(world.spec(OTHER, "exit-3"))
    ended = await until_exited(runtime, OTHER)
    again = await world.open()
    assert await again.list() == [running, ended]
    await again.stop(ONE, LONG_SECONDS)
    assert (await until_exited(again, ONE)).exit_code == 128 + 15


async def test_exit_while_no_agent_was_there_is_seen_by_the_next(
    world: World, runtime: ContainerRuntime
) -> None:
    await runtime.create(world.spec(ONE, "wait"))
    await runtime.close()
    await world.release(ONE)
    again = await world.open()
    assert (await until_exited(again, ONE)).exit_code == 0
    assert await printed(again, ONE) == ["one", "two"]


async def test_initialising_twice_changes_nothing(world: World, runtime: ContainerRuntime) -> None:
    before = await runtime.create(world.spec(ONE, "run"))
    report = await runtime.init_node()
    assert world.kind in report.kinds
    assert await runtime.list() == [before]


async def test_log_has_the_lines_in_their_order(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "print"))
    await until_exited(runtime, ONE)
    lines = [line async for line in runtime.logs(ONE)]
    assert [line.text for line in lines] == [f"line {n}" for n in range(5)]
    assert {line.stream for line in lines} == {"stdout"}
    assert [line.time for line in lines] == sorted(line.time for line in lines)


async def test_log_tells_the_streams_apart(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "complain"))
    await until_exited(runtime, ONE)
    assert [(line.stream, line.text) async for line in runtime.logs(ONE)] == [("stderr", "woe")]


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize(("tail", "numbers"), [(0, ()), (2, (3, 4)), (100, range(5))])
async def test_tail_is_the_last_lines(
    world: World, runtime: ContainerRuntime, tail: int, numbers: tuple[int, ...], follow: bool
) -> None:
    await runtime.create(world.spec(ONE, "print"))
    await until_exited(runtime, ONE)
    lines = [line.text async for line in runtime.logs(ONE, LogQuery(tail=tail, follow=follow))]
    assert lines == [f"line {n}" for n in numbers]


async def test_following_ends_with_the_container(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "wait"))
    seen: list[str] = []
    async for line in runtime.logs(ONE, LogQuery(follow=True)):
        seen.append(line.text)
        if line.text == "one":
            await world.release(ONE)
    assert seen == ["one", "two"]
    status = await runtime.status(ONE)
    assert status is not None
    assert status.state is ContainerState.EXITED


async def test_environment_reaches_the_command(world: World, runtime: ContainerRuntime) -> None:
    await runtime.create(world.spec(ONE, "show-environment"))
    await until_exited(runtime, ONE)
    assert await printed(runtime, ONE) == ["good day"]
