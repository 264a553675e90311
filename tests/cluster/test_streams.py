"""`orc exec`, `top` and old logs on a real cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from orchestrator.model.workload import RestartPolicy
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import LIMIT_SECONDS, Operator, operating, script, until, workload
from tests.support.orc_process import ORC, orc_environment, run_orc_process
from tests.support.terminal import CTRL_C, Terminal

AT_ONCE = RestartPolicy(backoff_seconds=0.1)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    """A cluster whose agent may be killed."""
    with LocalCluster(tmp_path, etcd_at(tmp_path), controllers=1, agents=1) as cluster:
        yield cluster


def server(cluster: LocalCluster) -> str:
    return f"--server={','.join(cluster.servers)}"


async def orc(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run_orc_process, server(cluster), *arguments)


async def test_a_shell_on_a_terminal(calm: LocalCluster, operator: Operator) -> None:
    await operator.apply(workload("shelly"))
    await operator.running("shelly", 1)
    arguments = [*ORC, server(calm), "exec", "-it", "-e", "PS1=ready> ", "shelly", "--", "sh"]

    def use_it() -> int:
        with Terminal(arguments, orc_environment()) as terminal:
            terminal.read_until("ready> ", LIMIT_SECONDS)
            terminal.press(b"echo $ORC_WORKLOAD $(stty size) $TERM\n")
            terminal.read_until(r"\nshelly 50 160 xterm\s+ready> ", LIMIT_SECONDS)
            terminal.resize(40, 100)
            terminal.press(b"sh -c 'echo go; exec sleep 1000'\n")
            # who says go is who hears Ctrl-C: a shell between its commands would not end sleep
            terminal.read_until(r"\ngo\r", LIMIT_SECONDS)
            terminal.press(CTRL_C)
            terminal.read_until(r"\^C\s+ready> ", LIMIT_SECONDS)
            terminal.press(b"stty size; exit 5\n")
            terminal.read_until(r"\n40 100\r", LIMIT_SECONDS)
            return terminal.read_to_the_end(LIMIT_SECONDS)

    assert await asyncio.to_thread(use_it) == 5


async def test_exit_codes_and_streams_without_one(calm: LocalCluster, operator: Operator) -> None:
    await operator.apply(workload("coded"))
    await operator.running("coded", 1)
    done = await orc(calm, "exec", "coded", "--", "sh", "-c", "echo out; echo woe >&2; kill -9 $$")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "woe\n", 137)
    done = await orc(calm, "exec", "coded", "--", "no-such-command")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith("error: command 'no-such-command' is not found on the PATH")


async def test_what_is_used_is_measured(calm: LocalCluster, operator: Operator) -> None:
    await operator.apply(script("busy", "while :; do :; done"))
    (instance,) = await operator.running("busy", 1)

    async def used() -> dict[str, float] | None:
        items = json.loads((await orc(calm, "top", "-o", "json")).stdout)["items"]
        found = {each["name"]: each for each in items}.get(instance.name)
        return found if found and (found["cpu_cores"] or 0) > 0.05 else None

    assert 0 < (await until(used))["memory_mb"] < 1000
    heads, *rows = (await orc(calm, "top", "nodes")).stdout.splitlines()
    assert heads.split()[0] == "NAME"
    assert {row.split()[0] for row in rows} == {"n1", "n2", "n3"}


async def test_the_log_of_the_attempt_that_failed_is_found(
    calm: LocalCluster, operator: Operator
) -> None:
    text = 'echo "I am $ORC_ATTEMPT"; [ $ORC_ATTEMPT -gt 1 ] || exit 3; exec sleep 100000'
    await operator.apply(script("failing", text, restart=AT_ONCE))
    await operator.running("failing", 1, lambda found: found[0].attempt == 2)
    done = await orc(calm, "logs", "--previous", "default.failing.0.2")
    assert (done.stdout, done.stderr) == ("I am 1\n", "")
    assert (await orc(calm, "logs", "default.failing.0.1")).stdout == "I am 1\n"
    assert (await orc(calm, "logs", "failing")).stdout == "I am 2\n"
    assert (await orc(calm, "logs", "-p", "failing")).stdout == "I am 1\n"


async def test_an_agent_that_dies_takes_its_commands_along_and_is_told_of(
    own: LocalCluster,
) -> None:
    async with operating(own.client()) as operator:
        await operator.apply(workload("web"))
        await operator.running("web", 1)
        talking = await asyncio.create_subprocess_exec(
            *(*ORC, server(own), "exec", "web", "--", "sh", "-c", "echo $$; exec sleep 100000"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=orc_environment(),
        )
        assert talking.stdout is not None
        pid = int(await asyncio.wait_for(talking.stdout.readline(), LIMIT_SECONDS))
        own.agents["n1"].kill()
        _, said = await asyncio.wait_for(talking.communicate(), LIMIT_SECONDS)
        assert talking.returncode == 1
        assert said.startswith(b"error: node n1 cannot be reached at http://127.0.0.1:")

        await until(partial(_is_gone, pid))
        done = await orc(own, "exec", "web", "--", "true")
        assert done.returncode == 3 or "cannot be reached" in done.stderr


async def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)
