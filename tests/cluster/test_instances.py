"""Instances on a real cluster: several containers, ports, failures to start, and logs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import psutil

from orchestrator.cli.following import follow_logs
from orchestrator.model.answers import LogEntry
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.views import WorkloadInstance
from orchestrator.model.workload import (
    ContainerConfig,
    PortMapping,
    RestartPolicy,
    WorkloadDefinition,
    WorkloadKey,
)
from tests.support.operator import LIMIT_SECONDS, Operator, pid_of, script, until, workload
from tests.support.ports import free_port

STAYS = RestartPolicy(backoff_seconds=300)
"""A second failure is not made good within a test."""


def shell(name: str, text: str, **more: object) -> ContainerConfig:
    return ContainerConfig(name, command=("sh", "-c", text), **more)  # type: ignore[arg-type]


async def lines(operator: Operator, instance: str) -> list[LogEntry]:
    return [line async for line in operator.api.logs(instance)]


async def printed(operator: Operator, instance: str, count: int) -> dict[str, str]:
    """The first `count` lines of an instance, by container, once they are there."""

    async def enough() -> dict[str, str]:
        found = {line.container: line.text for line in await lines(operator, instance)}
        return found if len(found) == count else {}

    return await until(enough)


async def test_all_containers_run_and_know_each_others_ports(operator: Operator) -> None:
    tell = 'echo "$GREETING $ORC_INSTANCE $ORC_SLOT $PORT $PORT_80 $PORT_FRONT $PORT_BACK"'
    containers = (
        shell(
            "front",
            f"{tell}; exec sleep 100000",
            env_vars={"GREETING": "hello"},
            ports=(PortMapping(80, name="front"),),
        ),
        shell("back", f"{tell}; exec sleep 100000", ports=(PortMapping(81, name="back"),)),
    )
    await operator.apply(WorkloadDefinition("pair", containers))
    (instance,) = await operator.running("pair", 1)
    assert {each.name for each in instance.containers} == {"front", "back"}
    assert all(psutil.pid_exists(each.pid or 0) for each in instance.containers)
    front, back = (
        next(port.host_port for port in instance.ports if port.container == name)
        for name in ("front", "back")
    )
    said = await printed(operator, instance.name, 2)
    assert said["front"] == f"hello {instance.name} 0 {front} {front} {front} {back}"
    assert said["back"] == f" {instance.name} 0 {back}  {front} {back}"


async def test_the_end_of_one_container_is_the_end_of_its_instance(operator: Operator) -> None:
    containers = (shell("main", "exec sleep 100000"), shell("side", "exec sleep 100000"))
    await operator.apply(WorkloadDefinition("couple", containers, stop_grace_seconds=2.0))
    (first,) = await operator.running("couple", 1)
    pids = {each.name: each.pid or 0 for each in first.containers}
    os.kill(pids["side"], signal.SIGKILL)
    (second,) = await operator.running("couple", 1, lambda found: found[0].attempt == 2)
    assert "container side ended by SIGKILL (exit code 137)" in second.assigned_because
    assert not psutil.pid_exists(pids["main"])


async def test_a_command_that_does_not_exist_is_named(operator: Operator) -> None:
    await operator.apply(workload("absent", "no-such-command", restart=STAYS))
    failed = await finally_failed(operator, "absent")
    assert failed.reason == (
        "command 'no-such-command' is not found on the PATH of its node: install it there, or"
        " correct `command`"
    )

    async def waiting() -> tuple[str, ...]:
        return (await operator.workload("absent")).status.waiting

    (sentence,) = await until(waiting)
    assert "300 s after 2 failures in a row" in sentence


async def test_a_host_port_that_a_stranger_has_is_named(operator: Operator) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", free_port()))
        stranger.listen()
        port = stranger.getsockname()[1]
        container = shell("main", "exec sleep 100000", ports=(PortMapping(80, host_port=port),))
        await operator.apply(WorkloadDefinition("squeezed", (container,), restart=STAYS))
        failed = await finally_failed(operator, "squeezed")
    assert failed.reason == (
        f"host port {port}/tcp is already in use on node {failed.node} by a process that is no"
        " instance of this agent: free it, or let the port be chosen by leaving out host_port"
    )


async def test_a_failure_is_told_with_the_last_line_of_stderr(operator: Operator) -> None:
    await operator.apply(script("verbose", "echo 'no such table' >&2; exit 3", restart=STAYS))
    failed = await finally_failed(operator, "verbose")
    assert failed.reason == "exited with code 3: no such table"
    assert "exited with code 3: no such table" in failed.assigned_because


async def test_a_host_port_is_given_once_on_each_node(operator: Operator) -> None:
    container = shell("main", "exec sleep 100000", ports=(PortMapping(80, host_port=free_port()),))
    await operator.apply(WorkloadDefinition("fixed", (container,), replicas=4))

    async def waiting() -> tuple[str, ...]:
        status = (await operator.workload("fixed")).status
        return status.waiting if status.running == 3 else ()

    (sentence,) = await until(waiting)
    assert "port" in sentence
    assert len({each.node for each in await operator.instances("fixed")}) == 3


async def finally_failed(operator: Operator, name: str) -> WorkloadInstance:
    """The second attempt, after which there is a pause."""

    async def failed() -> WorkloadInstance | None:
        found = await operator.instances(name)
        is_so = found and found[-1].attempt == 2
        return found[-1] if is_so and found[-1].status is WorkloadInstanceStatus.FAILED else None

    return await until(failed)


async def test_logs_follow_a_workload_over_a_replacement(operator: Operator) -> None:
    text = 'n=0; while :; do echo "$ORC_ATTEMPT $n"; n=$((n+1)); sleep 0.05; done'
    await operator.apply(script("talker", text))
    (first,) = await operator.running("talker", 1)
    async with aclosing(followed(operator, "talker")) as told:
        await heard(told, "1 3")
        os.kill(pid_of(first), signal.SIGKILL)
        await heard(told, "2 3")


async def followed(operator: Operator, name: str) -> AsyncGenerator[LogEntry, None]:
    """Each container's lines, of which none must be missing."""
    counts: dict[str, int] = {}
    async with aclosing(follow_logs(operator.api, WorkloadKey("default", name))) as lines:
        async for line in lines:
            if line.stream == "stdout":
                assert int(line.text.split()[1]) == counts.get(line.instance, 0)
                counts[line.instance] = counts.get(line.instance, 0) + 1
                yield line


async def heard(lines: AsyncIterator[LogEntry], text: str) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        async for line in lines:
            if line.text == text:
                return
    raise AssertionError(f"the log has ended without {text!r}")


async def test_logs_outlive_their_rotation(operator: Operator) -> None:
    """36 MB of lines are more than the three files of 10 MB that are kept."""
    count = 250_000
    await operator.apply(script("wordy", f"seq -f '%099.0f' {count}; exec sleep 100000"))
    (instance,) = await operator.running("wordy", 1)

    async def last() -> list[LogEntry]:
        tail = [line async for line in operator.api.logs(instance.name, tail=5)]
        return tail if tail and int(tail[-1].text) == count else []

    assert [int(line.text) for line in await until(last)] == [*range(count - 4, count + 1)]
    kept = [int(line.text) async for line in operator.api.logs(instance.name)]
    assert kept == [*range(kept[0], count + 1)]
    assert 100_000 < len(kept) < count
